"""Small real apps, and a demo that runs them."""
