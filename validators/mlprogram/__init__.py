"""Read Core ML's ML Programs (.mlpackage) and execute them op by op in PyTorch, on any operating system.

This proves the graph and the weights as stored and the rounding the file declares; it says nothing about Apple's
kernels. ``program`` reads a package, ``ops`` holds one function per MIL operation, and ``execute`` runs the package
with these functions and records the value ranges.
"""
