"""What pipeline authors use: the compiler, step interfaces, templates."""
