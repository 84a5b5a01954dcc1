"""Pictures, videos and clips: read, written, prepared and packed."""
