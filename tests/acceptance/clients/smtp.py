"""Runs in a pod before the lines of a test: sends mail through the relay."""

import json
import smtplib
import ssl


def send(sender, mark, tls=True):
    """Return `ok`, or the code with which the relay refused."""
    context = ssl.create_default_context(cafile="/access/probe-files-access/ca.crt")
    try:
        with smtplib.SMTP("mail.mail.svc", 587, timeout=20) as client:
            if tls:
                client.starttls(context=context)
            client.sendmail(sender, ["officer@gov.test"], f"Subject: {mark}\r\n\r\nhello\r\n")
    except smtplib.SMTPRecipientsRefused as error:
        return min(code for code, _ in error.recipients.values())
    except smtplib.SMTPResponseException as error:
        return error.smtp_code
    return "ok"


def attempts(domain, mark):
    """Print what becomes of mail of the site, of somebody else's, and in clear text."""
    own, foreign = send(f"portal@{domain}", mark), send("someone@else.test", mark)
    print(json.dumps({"own": own, "foreign": foreign, "clear": send(f"portal@{domain}", mark, tls=False)}))
