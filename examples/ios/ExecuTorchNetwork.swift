// The network in a .pte file, for apps with ExecuTorch, say those that come from PyTorch Mobile and its .ptl.
// Link the package's products executorch, backend_xnnpack and kernels_optimized (swiftpm-1.5.1), and for a .coreml.pte file
// backend_coreml.

import ExecuTorch

final class ExecuTorchNetwork {
    private let module: Module
    private let height: Int, width: Int

    init(path: String, height: Int, width: Int) throws {
        (module, self.height, self.width) = (Module(filePath: path), height, width)
        try module.load("forward")
    }

    /// What Compress wrote into the file, a JSON object: name, size, preprocessing.
    func metadata() throws -> String? {
        try module.execute("metadata", [])[0].string
    }

    /// RGB bytes of one image, H x W x 3, to its embedding.
    func embed(_ pixels: [UInt8]) throws -> [Float] {
        let image = Tensor<UInt8>(channelsFirst(pixels), shape: [1, 3, height, width])
        let embedding: Tensor<Float>? = try module.forward(image)[0].tensor()
        return embedding?.scalars() ?? []
    }
}

/// H x W x 3 to 3 x H x W.
func channelsFirst(_ pixels: [UInt8]) -> [UInt8] {
    let count = pixels.count / 3
    return pixels.indices.map { pixels[$0 % count * 3 + $0 / count] }
}
