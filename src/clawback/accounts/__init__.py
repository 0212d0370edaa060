"""Who may do what, and with which secrets: tokens and the vault."""
