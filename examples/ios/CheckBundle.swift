// Does this device's Core ML give what the bundle promises? Runs a .mlpackage on the golden images and searches the
// gallery; examples/python/check_bundle.py is the same in Python. Needs nothing beyond Apple's frameworks (iOS 16,
// macOS 13). On a Mac, `compress verify BUNDLE --runtime coreml` is shorter; this is for the device, e.g. in XCTest:
//     XCTAssertTrue(try await checkBundle(at: url, artifact: "artifacts/NAME.fp16.mlpackage").allSatisfy(\.passed))

import CoreML
import CoreVideo
import Foundation
import SQLite3

struct Manifest: Decodable {
    struct Embedding: Decodable { let dim: Int; let kind: String; let distance: String; let space_id: String }
    struct Gate: Decodable { let name: String; let limit: Double }
    struct Artifact: Decodable { let path: String; let gates: [Gate] }
    let embedding: Embedding
    let artifacts: [Artifact]
}

struct Golden: Decodable {
    struct Neighbour: Decodable { let name: String; let distance: Double }
    struct Image: Decodable { let file: String; let source: String; let neighbours: [Neighbour] }
    struct Tensors: Decodable { let shape: [Int] }
    struct Search: Decodable { let leave_one_out: Bool }
    let images: [Image]
    let tensors: Tensors
    let gallery: Search
}

/// gallery/gallery.sqlite in memory; a code's bits are 0 and 1.
struct Gallery {
    var spaceID = ""
    var names: [String] = []
    var features: [[Float]] = []
}

/// A value that was measured, and its limit in bundle.json.
struct CheckResult {
    let name: String
    let value: Double
    let limit: Double
    var passed: Bool { value >= limit } // false for NaN
}

enum CheckError: Error { case unreadable(String), otherModel, noArtifact(String), noLimit(String), noOutput }

// MARK: - Without Core ML

/// The feature column: float32 little-endian, or a code whose first bit is the most significant one.
func decodeFeature(_ bytes: [UInt8], kind: String, dim: Int) -> [Float] {
    // Each step with its type: one long expression takes the compiler most of a minute.
    return (0..<dim).map { (i: Int) -> Float in
        if kind == "binary" {
            let shifted: UInt8 = bytes[i / 8] >> UInt8(7 - i % 8)
            return Float(shifted & 1)
        }
        var bits: UInt32 = 0
        for k in 0..<4 {
            let byte = UInt32(bytes[4 * i + k])
            bits |= byte << UInt32(8 * k)
        }
        return Float(bitPattern: bits)
    }
}

/// Cosine after subtracting `zero`: 0, or 0.5 for the activations of a code.
func cosine(_ a: [Float], _ b: [Float], zero: Double = 0) -> Double {
    var dot = 0.0, aa = 0.0, bb = 0.0
    for i in a.indices {
        let x = Double(a[i]) - zero, y = Double(b[i]) - zero
        dot += x * y
        aa += x * x
        bb += y * y
    }
    return dot / (aa * bb).squareRoot()
}

func distance(_ a: [Float], _ b: [Float], _ kind: String) -> Double {
    switch kind {
    case "hamming":
        return Double(a.indices.filter { (a[$0] > 0.5) != (b[$0] > 0.5) }.count)
    case "cosine":
        return 1 - cosine(a, b)
    default:
        var sum = 0.0
        for i in a.indices {
            let difference = Double(a[i]) - Double(b[i])
            sum += difference * difference
        }
        return sum.squareRoot()
    }
}

/// Rows of the `k` nearest gallery images; equal distances in the gallery's order.
func nearest(_ gallery: Gallery, to query: [Float], k: Int, by kind: String, without: String?) -> [Int] {
    let distances = gallery.features.map { distance(query, $0, kind) }
    let rows = gallery.names.indices.filter { gallery.names[$0] != without }
    return Array(rows.sorted { (distances[$0], $0) < (distances[$1], $1) }.prefix(k))
}

func readGallery(at url: URL, kind: String, dim: Int) throws -> Gallery {
    var database: OpaquePointer?
    defer { sqlite3_close(database) }
    guard sqlite3_open_v2(url.path, &database, SQLITE_OPEN_READONLY, nil) == SQLITE_OK else {
        throw CheckError.unreadable(url.path)
    }
    func rows(_ query: String, _ use: (OpaquePointer) throws -> Void) throws {
        var statement: OpaquePointer?
        defer { sqlite3_finalize(statement) }
        guard sqlite3_prepare_v2(database, query, -1, &statement, nil) == SQLITE_OK, let row = statement else {
            throw CheckError.unreadable(url.path)
        }
        while sqlite3_step(row) == SQLITE_ROW { try use(row) }
    }
    var gallery = Gallery()
    try rows("SELECT value FROM meta WHERE key = 'space_id'") { row in
        // The values are JSON: a text in quotation marks.
        gallery.spaceID = String(cString: sqlite3_column_text(row, 0)).trimmingCharacters(in: ["\""])
    }
    try rows("SELECT name, feature FROM images ORDER BY id") { row in
        guard let blob = sqlite3_column_blob(row, 1) else { throw CheckError.unreadable(url.path) }
        let bytes = [UInt8](Data(bytes: blob, count: Int(sqlite3_column_bytes(row, 1))))
        gallery.names.append(String(cString: sqlite3_column_text(row, 0)))
        gallery.features.append(decodeFeature(bytes, kind: kind, dim: dim))
    }
    return gallery
}

// MARK: - With Core ML

/// A pixel buffer of RGB bytes, `height` x `width` x 3; Core ML takes BGRA.
func pixelBuffer(rgb: ArraySlice<UInt8>, width: Int, height: Int) throws -> CVPixelBuffer {
    var made: CVPixelBuffer?
    CVPixelBufferCreate(nil, width, height, kCVPixelFormatType_32BGRA, nil, &made)
    guard let buffer = made else { throw CheckError.unreadable("image") }
    CVPixelBufferLockBaseAddress(buffer, [])
    defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
    guard let base = CVPixelBufferGetBaseAddress(buffer) else { throw CheckError.unreadable("image") }
    let stride = CVPixelBufferGetBytesPerRow(buffer)
    for y in 0..<height {
        for x in 0..<width {
            let from = rgb.startIndex + 3 * (y * width + x), to = y * stride + 4 * x
            for channel in 0..<3 {
                base.storeBytes(of: rgb[from + 2 - channel], toByteOffset: to + channel, as: UInt8.self)
            }
            base.storeBytes(of: 255, toByteOffset: to + 3, as: UInt8.self)
        }
    }
    return buffer
}

// Not async: the asynchronous prediction needs iOS 17.
func embed(_ image: MLFeatureValue, with model: MLModel, dim: Int) throws -> [Float] {
    let input = try MLDictionaryFeatureProvider(dictionary: ["image": image])
    let prediction = try model.prediction(from: input)
    guard let output = prediction.featureValue(for: "embedding")?.multiArrayValue, output.count == dim else {
        throw CheckError.noOutput
    }
    return (0..<dim).map { output[$0].floatValue }
}

/// `min_cosine`, and `golden_neighbours`, the mean share of neighbours that are right.
func checkBundle(at bundle: URL, artifact: String) async throws -> [CheckResult] {
    func read(_ file: String) throws -> Data { try Data(contentsOf: bundle.appendingPathComponent(file)) }
    let manifest = try JSONDecoder().decode(Manifest.self, from: read("bundle.json"))
    let golden = try JSONDecoder().decode(Golden.self, from: read("golden/golden.json"))
    let pixels = [UInt8](try read("golden/images.u8")), embeddings = [UInt8](try read("golden/embeddings.f32"))
    let spec = manifest.embedding
    let file = bundle.appendingPathComponent("gallery/gallery.sqlite")
    let gallery = try readGallery(at: file, kind: spec.kind, dim: spec.dim)
    guard gallery.spaceID == spec.space_id else { throw CheckError.otherModel }
    guard let entry = manifest.artifacts.first(where: { $0.path == artifact }) else {
        throw CheckError.noArtifact(artifact)
    }

    let compiled = try await MLModel.compileModel(at: bundle.appendingPathComponent(artifact))
    let model = try MLModel(contentsOf: compiled)
    let height = golden.tensors.shape[1], width = golden.tensors.shape[2], size = height * width * 3
    var worst = Double.infinity, shares = 0.0
    for (i, image) in golden.images.enumerated() {
        let buffer = try pixelBuffer(rgb: pixels[i * size..<(i + 1) * size], width: width, height: height)
        let found = try embed(MLFeatureValue(pixelBuffer: buffer), with: model, dim: spec.dim)
        let bytes = [UInt8](embeddings[i * spec.dim * 4..<(i + 1) * spec.dim * 4])
        let expected = decodeFeature(bytes, kind: "float", dim: spec.dim)

        let angle = cosine(found, expected, zero: spec.kind == "binary" ? 0.5 : 0)
        worst = angle.isNaN || worst.isNaN ? .nan : min(worst, angle)
        let without = golden.gallery.leave_one_out ? image.source : nil
        let rows = nearest(gallery, to: found, k: image.neighbours.count, by: spec.distance, without: without)
        // A neighbour is right if the PyTorch model has it no farther than its last one, so that ties cost nothing.
        let limit = (image.neighbours.last?.distance ?? 0) * (1 + 1e-5)
        let right = rows.filter { distance(expected, gallery.features[$0], spec.distance) <= limit }
        shares += Double(right.count) / Double(rows.count)
    }
    func result(_ name: String, _ value: Double) throws -> CheckResult {
        guard let gate = entry.gates.first(where: { $0.name == name }) else { throw CheckError.noLimit(name) }
        return CheckResult(name: name, value: value, limit: gate.limit)
    }
    return [
        try result("min_cosine", worst),
        try result("golden_neighbours", shares / Double(golden.images.count)),
    ]
}
