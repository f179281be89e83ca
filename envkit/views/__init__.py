"""What people and machines get to see: values in, text out. Nothing here decides, reads state or picks exit codes."""
