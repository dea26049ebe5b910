"""What each part of a comparison may say of its numbers, one module a part."""
