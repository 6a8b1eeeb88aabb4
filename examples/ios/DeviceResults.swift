// Measures a bundle's .mlpackage on this device, and writes what `compress import-device-results BUNDLE FILE` takes in:
// the embeddings of the golden images, times and memory. Scores are computed there. Uses CheckBundle.swift. In XCTest:
//     let data = try await measureOnThisDevice(at: url, artifact: "artifacts/NAME.fp16.mlpackage", by: "app team")
//     add(XCTAttachment(data: data, uniformTypeIdentifier: "public.json"))

import CoreML
import CryptoKit
import Foundation

struct DeviceResults: Encodable {
    struct Device: Encodable { let model: String; let system: String }
    struct Runtime: Encodable { let name: String; let version: String }
    struct Measured: Encodable { let by: String; let at: String }
    let schema = 1
    let golden_sha256: String
    let device: Device
    let runtime: Runtime
    let measured: Measured
    let artifacts: [MeasuredArtifact]
}

/// Either `embeddings` or `failure`; times are in milliseconds.
struct MeasuredArtifact: Encodable {
    struct Embeddings: Encodable { let shape: [Int]; let base64: Data }
    struct Times: Encodable { let median: Double; let p95: Double }
    struct Latency: Encodable { let median: Double; let p95: Double; let threads: Int }
    let path: String
    let sha256: String
    let processor: String
    var failure: String?
    var embeddings: Embeddings?
    var latency_ms: Latency?
    var pipeline_ms: Times?
    var load_ms: Double?
    var peak_bytes: Int?
    var delegate_share: Double?
}

/// What Core ML may use, besides the CPU.
enum Processor: String {
    case arm, gpu, npu

    var units: MLComputeUnits {
        switch self {
        case .arm: return .cpuOnly
        case .gpu: return .cpuAndGPU
        case .npu: return .cpuAndNeuralEngine
        }
    }
}

/// Measures one artifact; run it in a process of its own, because cold load and peak memory are the process's.
func measureOnThisDevice(at bundle: URL, artifact: String, by: String, processor: Processor = .npu) async throws -> Data {
    let path = bundle.appendingPathComponent(artifact)
    var measured = MeasuredArtifact(path: artifact, sha256: try sha256(ofFolder: path), processor: processor.rawValue)
    do {
        try await measure(at: bundle, path, processor, into: &measured)
        measured.peak_bytes = peakBytes()
    } catch {
        let reason = String(String(describing: error).split(whereSeparator: \.isWhitespace).joined(separator: " ").prefix(1000))
        measured = MeasuredArtifact(path: artifact, sha256: measured.sha256, processor: processor.rawValue, failure: reason)
    }
    let version = ProcessInfo.processInfo.operatingSystemVersion
    #if os(macOS)
    let system = "macOS \(version.majorVersion).\(version.minorVersion)"
    #else
    let system = "iOS \(version.majorVersion).\(version.minorVersion)"
    #endif
    let results = DeviceResults(
        golden_sha256: hex(SHA256.hash(data: try Data(contentsOf: bundle.appendingPathComponent("golden/images.u8")))),
        device: .init(model: "Apple \(machine())", system: system),
        runtime: .init(name: "coreml", version: system), // Core ML has the system's version
        measured: .init(by: by, at: today()),
        artifacts: [measured]
    )
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
    return try encoder.encode(results)
}

private func measure(
    at bundle: URL, _ path: URL, _ processor: Processor, into measured: inout MeasuredArtifact
) async throws {
    func read(_ file: String) throws -> Data { try Data(contentsOf: bundle.appendingPathComponent(file)) }
    let spec = try JSONDecoder().decode(Manifest.self, from: read("bundle.json")).embedding
    let golden = try JSONDecoder().decode(Golden.self, from: read("golden/golden.json"))
    let pixels = [UInt8](try read("golden/images.u8")), shape = golden.tensors.shape, size = shape[1] * shape[2] * 3
    let gallery = try readGallery(at: bundle.appendingPathComponent("gallery/gallery.sqlite"), kind: spec.kind, dim: spec.dim)
    let images = try (0..<shape[0]).map { i in
        MLFeatureValue(pixelBuffer: try pixelBuffer(rgb: pixels[i * size..<(i + 1) * size], width: shape[2], height: shape[1]))
    }
    let configuration = MLModelConfiguration()
    configuration.computeUnits = processor.units

    let clock = ContinuousClock()
    let start = clock.now
    let compiled = try await MLModel.compileModel(at: path)
    let model = try MLModel(contentsOf: compiled, configuration: configuration)
    _ = try embed(images[0], with: model, dim: spec.dim)
    measured.load_ms = (clock.now - start) / .milliseconds(1)

    var bytes = Data()
    for image in images {
        for value in try embed(image, with: model, dim: spec.dim) {
            withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes.append(contentsOf: $0) }
        }
    }
    measured.embeddings = .init(shape: [images.count, spec.dim], base64: bytes)
    let alone = try times { _ = try embed(images[$0 % images.count], with: model, dim: spec.dim) }
    measured.latency_ms = .init(median: alone.median, p95: alone.p95, threads: 1)
    guard let constraint = model.modelDescription.inputDescriptionsByName["image"]?.imageConstraint else { return }
    measured.pipeline_ms = try times { run in
        let file = bundle.appendingPathComponent("golden/" + golden.images[run % images.count].file)
        let photo = try MLFeatureValue(imageAt: file, constraint: constraint, options: nil)
        let found = try embed(photo, with: model, dim: spec.dim)
        _ = nearest(gallery, to: found, k: 10, by: spec.distance, without: nil)
    }
    if #available(iOS 17.4, macOS 14.4, *) {
        measured.delegate_share = try await acceleratedShare(of: compiled, configuration)
    }
}

/// Median and 95th percentile in milliseconds of 100 runs, after 10 to warm up.
private func times(_ run: (Int) throws -> Void) throws -> MeasuredArtifact.Times {
    for number in 0..<10 { try run(number) }
    let clock = ContinuousClock()
    let found = try (0..<100).map { number in
        let start = clock.now
        try run(number)
        return (clock.now - start) / .milliseconds(1)
    }.sorted()
    return .init(median: (found[49] + found[50]) / 2, p95: found[94])
}

/// The share of operations that Core ML plans for GPU or Neural Engine.
@available(iOS 17.4, macOS 14.4, *)
private func acceleratedShare(of compiled: URL, _ configuration: MLModelConfiguration) async throws -> Double? {
    let plan = try await MLComputePlan.load(contentsOf: compiled, configuration: configuration)
    guard case .program(let program) = plan.modelStructure, let main = program.functions["main"] else { return nil }
    let devices = main.block.operations.compactMap { plan.deviceUsage(for: $0)?.preferred }
    let others = devices.filter { device in
        if case .cpu = device { return false }
        return true
    }
    return devices.isEmpty ? nil : Double(others.count) / Double(devices.count)
}

/// sha256 of a folder, as docs/bundle.md defines it: of a line `sha256  path` for each file, sorted by path.
private func sha256(ofFolder folder: URL) throws -> String {
    let keys: [URLResourceKey] = [.isRegularFileKey]
    guard let files = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: keys) else {
        throw CheckError.unreadable(folder.path)
    }
    let root = folder.resolvingSymlinksInPath().path + "/"
    var lines: [(path: String, line: String)] = []
    for case let file as URL in files where try file.resourceValues(forKeys: Set(keys)).isRegularFile == true {
        let path = String(file.resolvingSymlinksInPath().path.dropFirst(root.count))
        lines.append((path, "\(hex(SHA256.hash(data: try Data(contentsOf: file))))  \(path)\n"))
    }
    lines.sort { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }
    return hex(SHA256.hash(data: Data(lines.map(\.line).joined().utf8)))
}

private func hex(_ digest: SHA256.Digest) -> String { digest.map { String(format: "%02x", $0) }.joined() }

private func today() -> String {
    let format = DateFormatter()
    format.locale = Locale(identifier: "en_US_POSIX")
    format.dateFormat = "yyyy-MM-dd"
    return format.string(from: Date())
}

/// Such as iPhone16,1.
private func machine() -> String {
    var system = utsname()
    uname(&system)
    return withUnsafeBytes(of: &system.machine) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
}

/// The most memory this process had; Apple counts it in bytes.
private func peakBytes() -> Int? {
    var usage = rusage()
    return getrusage(0, &usage) == 0 ? usage.ru_maxrss : nil // 0: RUSAGE_SELF
}
