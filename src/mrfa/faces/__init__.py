"""Where faces are in pictures, and their landmarks, by networks that come with the package."""
