"""Key layout, windows and expiry over engine stores."""
