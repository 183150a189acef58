"""`rtexp check`: what usually goes wrong, a family of it in each module, and what to do about it."""
