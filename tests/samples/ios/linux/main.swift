// Drives OfflineIndex on Linux: main BUNDLE ARTIFACT GALLERY PREPARED, one command per line of standard input, its words
// separated by tabs; a line of JSON answers each. PREPARED is what Linux has no Swift libraries for, as files named by
// sha256: decoded photographs (SHA.raster) and the artifact's embeddings of its inputs (SHA.f32).

import Foundation

/// Width, height and orientation as 4 bytes each, little-endian, then RGBA.
struct LinuxPlatform: Platform {
    let folder: URL

    func decode(_ file: Data) -> Raster? {
        guard let data = try? Data(contentsOf: folder.appendingPathComponent(hex(sha256(file)) + ".raster")) else {
            return nil
        }
        let bytes = [UInt8](data)
        let head = (0..<3).map { (i: Int) -> Int in little(bytes, at: 4 * i) }
        return Raster(width: head[0], height: head[1], rgba: Array(bytes[12...]), orientation: head[2])
    }

    func jpeg(_ rgb: [UInt8], width: Int, height: Int) throws -> Data { Data("\(width) x \(height)".utf8) }

    func sha256(_ data: Data) -> [UInt8] { digest([UInt8](data)) }
}

struct LinuxEmbedder: Embedder {
    let folder: URL

    func embed(_ rgb: [UInt8]) throws -> [Float] {
        let bytes = [UInt8](try Data(contentsOf: folder.appendingPathComponent(hex(digest(rgb)) + ".f32")))
        return (0..<bytes.count / 4).map { (i: Int) -> Float in Float(bitPattern: UInt32(little(bytes, at: 4 * i))) }
    }
}

/// Four bytes as a number, the least significant one first.
func little(_ bytes: [UInt8], at start: Int) -> Int {
    var number = 0
    for i in 0..<4 {
        let byte = Int(bytes[start + i])
        number |= byte << (8 * i)
    }
    return number
}

func hex(_ bytes: [UInt8]) -> String { bytes.map { String(format: "%02x", $0) }.joined() }

/// SHA-256 (FIPS 180-4), which CryptoKit does on Apple's systems.
func digest(_ message: [UInt8]) -> [UInt8] {
    func fraction(_ value: Double) -> UInt32 { UInt32((value - value.rounded(.down)) * 4294967296) }
    let primes = (2..<312).filter { n in !(2..<n).contains { n % $0 == 0 } }
    let constants = primes.map { fraction(cbrt(Double($0))) }
    var state = primes.prefix(8).map { fraction(Double($0).squareRoot()) }
    var padded = message + [0x80]
    padded += [UInt8](repeating: 0, count: (120 - padded.count % 64) % 64)
    padded += (0..<8).map { UInt8(truncatingIfNeeded: (message.count * 8) >> (56 - 8 * $0)) }
    func turned(_ x: UInt32, _ n: UInt32) -> UInt32 { (x >> n) | (x << (32 - n)) }
    for block in stride(from: 0, to: padded.count, by: 64) {
        var w = (0..<16).map { (i: Int) -> UInt32 in UInt32(little(padded, at: block + 4 * i)).byteSwapped }
        for i in 16..<64 {
            let a = turned(w[i - 15], 7) ^ turned(w[i - 15], 18) ^ (w[i - 15] >> 3)
            let b = turned(w[i - 2], 17) ^ turned(w[i - 2], 19) ^ (w[i - 2] >> 10)
            w.append(w[i - 16] &+ a &+ w[i - 7] &+ b)
        }
        var s = state
        for i in 0..<64 {
            let e = turned(s[4], 6) ^ turned(s[4], 11) ^ turned(s[4], 25)
            let choice = (s[4] & s[5]) ^ (~s[4] & s[6])
            let first = s[7] &+ e &+ choice &+ constants[i] &+ w[i]
            let a = turned(s[0], 2) ^ turned(s[0], 13) ^ turned(s[0], 22)
            let majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2])
            s = [first &+ a &+ majority, s[0], s[1], s[2], s[3] &+ first, s[4], s[5], s[6]]
        }
        for i in 0..<8 { state[i] = state[i] &+ s[i] }
    }
    return state.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (24 - 8 * $0)) } }
}

func read(_ path: String) throws -> Data { try Data(contentsOf: URL(fileURLWithPath: path)) }

func answer(_ index: OfflineIndex, _ command: String, _ words: [String]) throws -> [String: Any] {
    switch command {
    case "add": // NAME LABEL FILE, again and again
        let photos = stride(from: 0, to: words.count, by: 3).map { (i: Int) -> Photo in
            Photo(name: words[i], label: words[i + 1]) { try read(words[i + 2]) }
        }
        let added = try index.add(photos)
        return [
            "embedded": added.embedded, "unchanged": added.unchanged, "undecodable": added.undecodable, "size": index.count,
        ]
    case "threshold":
        return ["distance": index.threshold(falseAcceptRate: Double(words[0])!) ?? NSNull()]
    case "remove":
        return ["removed": try index.remove(words), "size": index.count]
    case "search": // FILE TOP WITHIN
        let within = words[2] == "Infinity" ? Double.infinity : Double(words[2])!
        let matches = try index.search(try read(words[0]), top: Int(words[1])!, within: within)
        return ["matches": matches.map { ["name": $0.name, "label": $0.label, "distance": $0.distance] as [String: Any] }]
    case "evaluate":
        let scores = index.evaluated()
        return [
            "queries": scores.queries, "empty": scores.empty, "mAP": scores.mAP, "mPC@5": scores.mPC,
            "P@1": scores.precision,
        ]
    case "prepare": // FILE
        let rgb = index.prepared(try read(words[0]))
        return ["pixels": rgb.map { Data($0).base64EncodedString() } ?? NSNull()]
    case "thumbnail":
        return ["jpeg": try index.thumbnail(words[0])?.base64EncodedString() ?? NSNull()]
    default:
        throw OfflineIndexError(command)
    }
}

let arguments = CommandLine.arguments.map { URL(fileURLWithPath: $0) }
do {
    let artifact = try Artifact(bundle: arguments[1], path: CommandLine.arguments[2], runtime: "litert")
    let index = try OfflineIndex(
        artifact, file: arguments[3], platform: LinuxPlatform(folder: arguments[4]),
        embedder: LinuxEmbedder(folder: arguments[4])
    )
    while let line = readLine() {
        let words = line.components(separatedBy: "\t")
        var found: [String: Any]
        do {
            found = try answer(index, words[0], Array(words.dropFirst()))
        } catch {
            found = ["error": String(describing: error)]
        }
        print(String(decoding: try JSONSerialization.data(withJSONObject: found), as: UTF8.self))
    }
} catch {
    FileHandle.standardError.write(Data("\(error)\n".utf8))
    exit(1)
}
