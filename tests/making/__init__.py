"""What the tests are made of: speech-like audio and small models, generated on the spot."""
