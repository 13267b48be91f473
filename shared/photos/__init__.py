"""HR images: where they are found, their licences, the crops of them, their decoded pixels."""
