"""The names of the values that templates use."""

PLACEHOLDERS = ("firstName", "lastName", "companyName", "email")
"""The values of the contact. Every template can use them."""
UNSUBSCRIBE_URL = "unsubscribeUrl"
"""The address that opts this recipient out. Only bodies can use it."""
BODY_PLACEHOLDERS = (*PLACEHOLDERS, UNSUBSCRIBE_URL)
PLACED_URL = "_unsubscribe"
"""The same address with a mark after it. It replaces UNSUBSCRIBE_URL in a compiled body (see `placement`). The name is
shorter, so that the length of the template stays within its limit."""

# Names of values beside the placeholders. They contain a space, so no template can use them.
CLICK = "click address"
"""The start of the addresses that replace tracked links."""
UNSUBSCRIBE, PIXEL = "unsubscribe address", "open pixel"
