"""What operators compute, whatever the device: their shapes, references and costs."""
