// A gallery of the user's own photographs on the device: add, remove, search, evaluate, all offline. The file is the one
// that `compress index` writes; either continues the other's. Plain Swift: Apple.swift has what needs Apple's frameworks.

import Foundation

struct OfflineIndexError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// A loaded artifact: RGB bytes of one image, H x W x 3, to its embedding.
protocol Embedder {
    func embed(_ rgb: [UInt8]) throws -> [Float]
}

/// An older model whose galleries the artifacts were trained to search: the key `upgrade` of bundle.json.
struct Older: Decodable {
    struct Gate: Decodable { let name: String; let passed: Bool }
    let space_id: String
    let dim: Int
    let gates: [Gate]

    /// Says that the artifacts find less in its galleries than the older model did.
    var failedGate: String? { gates.first { !$0.passed }?.name }
}

/// What an app needs of a bundle: bundle.json and one artifact.
struct Artifact {
    private struct Manifest: Decodable {
        struct Threshold: Decodable { let false_accept_rate: Double; let distance: Double? }
        struct Thresholds: Decodable { let at: [Threshold]? }
        struct Entry: Decodable { let path: String; let sha256: String; let thresholds: Thresholds? }
        let name: String
        let embedding: Embedding
        let preprocess: Preprocess
        let artifacts: [Entry]
        let upgrade: Older? // bundles that were not trained for it have none
    }

    let file: URL
    let embedding: Embedding
    let preprocess: Preprocess
    /// The values of the gallery's table `meta` that say what made the features.
    let origin: [String: Value]
    /// The older model whose galleries this artifact was trained to search, if there is one.
    let older: Older?
    private let thresholds: [Manifest.Threshold]

    init(bundle: URL, path: String, runtime: String) throws {
        let text = try Data(contentsOf: bundle.appendingPathComponent("bundle.json"))
        let manifest = try JSONDecoder().decode(Manifest.self, from: text)
        guard let entry = manifest.artifacts.first(where: { $0.path == path }) else {
            throw OfflineIndexError("bundle.json: there is no artifact \(path)")
        }
        file = bundle.appendingPathComponent(path)
        (embedding, preprocess, older) = (manifest.embedding, manifest.preprocess, manifest.upgrade)
        thresholds = entry.thresholds?.at ?? [] // older bundles have none
        try embedding.check()
        try preprocess.check()
        origin = [
            "schema": .int(1), "name": .text(manifest.name), "space_id": .text(embedding.space_id),
            "dim": .int(embedding.dim), "kind": .text(embedding.kind), "distance": .text(embedding.distance),
            "dtype": .text(embedding.binary ? "bits, most significant first" : "float32 little-endian"),
            "artifact": .text(file.lastPathComponent), "artifact_sha256": .text(entry.sha256), "runtime": .text(runtime),
        ]
    }

    /// The distance up to which two images show the same thing, measured when the bundle was made; nil if the bundle has
    /// none for this rate.
    ///
    /// - Parameter rate: share of different things that are taken for the same, such as 0.001.
    func threshold(falseAcceptRate rate: Double) -> Double? {
        thresholds.first { $0.false_accept_rate == rate }?.distance
    }
}

/// A photograph to add.
struct Photo {
    /// Stays the same when the photograph is added again, such as its identifier in the album.
    let name: String
    /// What it shows, for `evaluate`; empty if nobody has said.
    var label = ""
    let read: () throws -> Data
}

/// An image of the gallery and its distance: bits that differ, Euclidean, or 1 - cosine.
struct Match: Equatable {
    let name: String
    let label: String
    let distance: Double
}

/// What `OfflineIndex.add` did; `undecodable` are the names of files that are no pictures.
struct Added {
    var embedded = 0
    var unchanged = 0
    var undecodable: [String] = []
}

/// The gallery. All methods wait for the device's storage or processor: call them off the main thread, one at a time.
final class OfflineIndex {
    /// Longest side of a thumbnail in pixels, as `compress index` has it.
    private static let thumbnail = 96

    private let artifact: Artifact
    private let platform: Platform
    private let embedder: Embedder
    private let gallery: GalleryFile
    private let stored: Embedding
    private var images: [Stored] = []
    private var features: Features

    /// - Parameter file: the gallery; a new one becomes an empty gallery. That of a run, or of an older model, can only be
    ///   searched.
    init(_ artifact: Artifact, file: URL, platform: Platform, embedder: Embedder) throws {
        (self.artifact, self.platform, self.embedder) = (artifact, platform, embedder)
        gallery = try GalleryFile(file, origin: artifact.origin, olderModel: artifact.older)
        if gallery.older, let older = artifact.older {
            stored = artifact.embedding.first(older.dim)
        } else {
            stored = artifact.embedding
        }
        images = try gallery.images()
        features = try Features(stored, images.map(\.feature))
    }

    /// As `Artifact.threshold`; nil in a gallery of an older model, where distances are others.
    func threshold(falseAcceptRate rate: Double) -> Double? {
        gallery.older ? nil : artifact.threshold(falseAcceptRate: rate)
    }

    var count: Int { images.count }
    var names: [String] { images.map(\.name) }

    /// Adds photographs, or replaces those of the same name. Only content that the gallery lacks is embedded.
    @discardableResult
    func add(_ photos: [Photo]) throws -> Added {
        let added = try gallery.update { change -> Added in
            var added = Added()
            for photo in photos {
                let file = try photo.read()
                let sha256 = platform.sha256(file)
                let known = try change.known(sha256)
                guard let picture = try known ?? embedded(file) else {
                    added.undecodable.append(photo.name)
                    continue
                }
                try change.put(photo.name, label: photo.label, sha256: sha256, picture)
                if known == nil { added.embedded += 1 } else { added.unchanged += 1 }
            }
            return added
        }
        try reload()
        return added
    }

    /// Removes images; returns how many there were.
    @discardableResult
    func remove(_ names: [String]) throws -> Int {
        let removed = try gallery.update { change in try names.filter { try change.remove($0) }.count }
        try reload()
        return removed
    }

    /// The `top` nearest images of a photograph, nearest first; equal distances in the gallery's order.
    ///
    /// - Parameter within: leave out images that are farther: an empty list then says "not in here".
    func search(_ file: Data, top: Int = 10, within: Double = .infinity) throws -> [Match] {
        guard let rgb = prepared(file) else { throw OfflineIndexError("this file is no picture") }
        return try nearest(embedder.embed(rgb), top: top, within: within)
    }

    /// As `search`, of an embedding; `without` names an image that is left out, such as the query itself.
    func nearest(
        _ query: [Float], top: Int = 10, within: Double = .infinity, without: String? = nil
    ) throws -> [Match] {
        _ = try artifact.embedding.pack(query) // checks it
        let distances = features.distances(Array(query.prefix(stored.dim))) // an older model's space has fewer values
        return features.ranked(distances).order
            .filter { images[$0].name != without }
            .prefix(top)
            .filter { distances[$0] <= within }
            .map { Match(name: images[$0].name, label: images[$0].label, distance: distances[$0]) }
    }

    /// The JPEG that is shown for an image; nil if there is no such image.
    func thumbnail(_ name: String) throws -> Data? {
        try images.firstIndex { $0.name == name }.flatMap { try gallery.thumbnail($0) }
    }

    /// How well the labelled images find each other.
    func evaluated(k: Int = 5) -> Scores { evaluate(features, images.map(\.label), k: k) }

    /// What the artifact gets for a photograph, H x W x 3; nil if it is no picture.
    func prepared(_ file: Data) -> [UInt8]? { platform.decode(file).map { prepare($0, artifact.preprocess) } }

    private func embedded(_ file: Data) throws -> Picture? {
        guard let rgb = prepared(file) else { return nil }
        let feature = try artifact.embedding.pack(embedder.embed(rgb))
        let (w, h) = (artifact.preprocess.width, artifact.preprocess.height)
        let shrink = max(1.0, Double(max(w, h)) / Double(OfflineIndex.thumbnail))
        let width = max(1, Int((Double(w) / shrink).rounded(.toNearestOrEven)))
        let height = max(1, Int((Double(h) / shrink).rounded(.toNearestOrEven)))
        let small = resized(rgb, width: w, height: h, toWidth: width, toHeight: height)
        let jpeg = try platform.jpeg(small, width: width, height: height)
        return Picture(width: width, height: height, thumbnail: [UInt8](jpeg), feature: feature)
    }

    private func reload() throws {
        images = try gallery.images()
        features = try Features(stored, images.map(\.feature))
    }
}
