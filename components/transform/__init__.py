"""Transform: features from raw columns, the same at training and at serving."""
