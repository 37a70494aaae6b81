"""Pictures kept between epochs, and batches made ahead of the step that needs them."""
