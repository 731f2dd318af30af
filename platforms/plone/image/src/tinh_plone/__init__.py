"""What the province adds to Plone: configuration of the server, content types of the gazette, seeding of a site."""

from zope.i18nmessageid import MessageFactory

#: Vietnamese is the text in the code, English the translation.
_ = MessageFactory("tinh_plone")
