"""Single sign-on and accounts: Keycloak."""
