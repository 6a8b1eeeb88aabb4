// The part of OfflineIndex that needs Apple's frameworks: its decoder and Core ML. iOS 16, Xcode 16.

import CoreGraphics
import CoreML
import CoreVideo
import CryptoKit
import Foundation
import UIKit

/// Opens a gallery, or begins one.
///
/// - Parameters:
///   - bundle: a folder with bundle.json and the artifact
///   - path: the artifact's path in it, e.g. artifacts/quickstart.fp16.mlpackage
///   - gallery: the file; one that `compress index` made, or one that does not exist yet
func openOfflineIndex(
    bundle: URL, path: String, gallery: URL, units: MLComputeUnits = .all
) async throws -> sending OfflineIndex {
    let artifact = try Artifact(bundle: bundle, path: path, runtime: "coreml")
    let configuration = MLModelConfiguration()
    configuration.computeUnits = units
    let compiled = try await MLModel.compileModel(at: artifact.file)
    let model = try MLModel(contentsOf: compiled, configuration: configuration)
    let size = (width: artifact.preprocess.width, height: artifact.preprocess.height)
    let embedder = CoreMLEmbedder(model: model, width: size.width, height: size.height, dim: artifact.embedding.dim)
    return try OfflineIndex(artifact, file: gallery, platform: ApplePlatform(), embedder: embedder)
}

/// A .mlpackage in Core ML.
struct CoreMLEmbedder: Embedder {
    let model: MLModel
    let width: Int
    let height: Int
    let dim: Int

    func embed(_ rgb: [UInt8]) throws -> [Float] {
        let image = MLFeatureValue(pixelBuffer: try buffer(rgb))
        let output = try model.prediction(from: MLDictionaryFeatureProvider(dictionary: ["image": image]))
        guard let embedding = output.featureValue(for: "embedding")?.multiArrayValue, embedding.count == dim else {
            throw OfflineIndexError("the artifact has no output 'embedding' of \(dim) numbers")
        }
        return (0..<dim).map { embedding[$0].floatValue }
    }

    /// Core ML takes BGRA.
    private func buffer(_ rgb: [UInt8]) throws -> CVPixelBuffer {
        var made: CVPixelBuffer?
        CVPixelBufferCreate(nil, width, height, kCVPixelFormatType_32BGRA, nil, &made)
        guard let buffer = made else { throw OfflineIndexError("no memory for an image") }
        CVPixelBufferLockBaseAddress(buffer, [])
        defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
        guard let base = CVPixelBufferGetBaseAddress(buffer) else { throw OfflineIndexError("no memory for an image") }
        let stride = CVPixelBufferGetBytesPerRow(buffer)
        for y in 0..<height {
            for x in 0..<width {
                let from = 3 * (y * width + x), to = y * stride + 4 * x
                for channel in 0..<3 {
                    base.storeBytes(of: rgb[from + 2 - channel], toByteOffset: to + channel, as: UInt8.self)
                }
                base.storeBytes(of: 255, toByteOffset: to + 3, as: UInt8.self)
            }
        }
        return buffer
    }
}

struct ApplePlatform: Platform {
    func decode(_ file: Data) -> Raster? {
        guard let picture = UIImage(data: file), let image = picture.cgImage else { return nil }
        let (width, height) = (image.width, image.height)
        var rgba = [UInt8](repeating: 255, count: width * height * 4)
        let drawn = rgba.withUnsafeMutableBytes { bytes -> Bool in
            guard let context = context(bytes.baseAddress, width, height, space(of: image)) else { return false }
            // In front of white, as training does it.
            let whole = CGRect(x: 0, y: 0, width: width, height: height)
            context.setFillColor(red: 1, green: 1, blue: 1, alpha: 1)
            context.fill(whole)
            context.draw(image, in: whole)
            return true
        }
        guard drawn else { return nil }
        for i in 0..<width * height { rgba[4 * i + 3] = 255 } // Core Graphics leaves it undefined
        return Raster(width: width, height: height, rgba: rgba, orientation: exif(picture.imageOrientation))
    }

    func jpeg(_ rgb: [UInt8], width: Int, height: Int) throws -> Data {
        var rgba = [UInt8](repeating: 255, count: width * height * 4)
        for i in 0..<width * height {
            for channel in 0..<3 { rgba[4 * i + channel] = rgb[3 * i + channel] }
        }
        let image = rgba.withUnsafeMutableBytes {
            context($0.baseAddress, width, height, CGColorSpaceCreateDeviceRGB())?.makeImage()
        }
        guard let image, let file = UIImage(cgImage: image).jpegData(compressionQuality: 0.85) else {
            throw OfflineIndexError("a thumbnail cannot be written")
        }
        return file
    }

    func sha256(_ data: Data) -> [UInt8] { Array(SHA256.hash(data: data)) }

    private func context(
        _ data: UnsafeMutableRawPointer?, _ width: Int, _ height: Int, _ space: CGColorSpace
    ) -> CGContext? {
        CGContext(
            data: data, width: width, height: height, bitsPerComponent: 8, bytesPerRow: 4 * width, space: space,
            bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue
        )
    }

    /// The picture's own, because training takes the numbers in the file as they are, whatever the colour profile; photographs
    /// of iPhones are in Display P3.
    private func space(of image: CGImage) -> CGColorSpace {
        if let own = image.colorSpace, own.model == .rgb, own.supportsOutput { return own }
        return CGColorSpaceCreateDeviceRGB()
    }

    private func exif(_ orientation: UIImage.Orientation) -> Int {
        switch orientation {
        case .up: return 1
        case .upMirrored: return 2
        case .down: return 3
        case .downMirrored: return 4
        case .leftMirrored: return 5
        case .right: return 6
        case .rightMirrored: return 7
        case .left: return 8
        @unknown default: return 1
        }
    }
}
