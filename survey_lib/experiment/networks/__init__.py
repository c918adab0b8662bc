"""Networks: small ones for images, and the stories260K language model."""
