"""Core ML ML Programs (.mlpackage) read back and executed op by op in PyTorch, on any operating system.

This proves the graph and the weights as stored and the rounding the file declares; it says nothing about Apple's
kernels. ``program`` reads a package, ``ops`` holds one function per MIL operation, ``execute`` runs the one with the
other and watches the value ranges.
"""
