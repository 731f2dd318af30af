"""Every tool and image of `tinh`, from the official release or built from package registries."""
