"""What `recurrust.trainer` is made of; nothing here is for users."""
