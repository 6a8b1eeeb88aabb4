// The gallery file of `compress index`, read and written in place: the tables meta, images and sources in SQLite.
// docs/bundle.md describes the format.

import Foundation
import SQLite3

/// The key `embedding` of bundle.json.
struct Embedding: Decodable {
    let dim: Int
    let kind: String
    let distance: String
    let space_id: String

    var binary: Bool { kind == "binary" }

    /// The first values alone, which search the galleries of an older model.
    func first(_ count: Int) -> Embedding {
        Embedding(dim: count, kind: kind, distance: distance, space_id: space_id)
    }

    func check() throws {
        guard ["l2", "cosine", "hamming"].contains(distance) else {
            throw OfflineIndexError(
                "bundle.json: distance \(distance) is not supported; use a bundle with l2, cosine or hamming"
            )
        }
    }

    /// The column `feature`: float32 little-endian, or bits activation > 0.5, the first one most significant.
    func pack(_ embedding: [Float]) throws -> [UInt8] {
        guard embedding.count == dim, embedding.allSatisfy(\.isFinite) else {
            throw OfflineIndexError("the artifact gave \(embedding.count) values or NaN instead of \(dim) numbers")
        }
        if !binary {
            return embedding.flatMap { (value: Float) -> [UInt8] in
                let bits = value.bitPattern
                return (0..<4).map { UInt8(truncatingIfNeeded: bits >> UInt32(8 * $0)) }
            }
        }
        var bits = [UInt8](repeating: 0, count: (dim + 7) / 8)
        for i in embedding.indices where embedding[i] > 0.5 { bits[i / 8] |= UInt8(128) >> UInt8(i % 8) }
        return bits
    }

    /// The reverse of `pack`; a code's bits are 0 and 1.
    func unpack(_ feature: [UInt8]) throws -> [Float] {
        guard feature.count == (binary ? (dim + 7) / 8 : 4 * dim) else {
            throw OfflineIndexError("the gallery is damaged: a feature has \(feature.count) bytes")
        }
        return (0..<dim).map { (i: Int) -> Float in
            if binary { return Float((feature[i / 8] >> UInt8(7 - i % 8)) & 1) }
            var bits: UInt32 = 0
            for k in 0..<4 { bits |= UInt32(feature[4 * i + k]) << UInt32(8 * k) }
            return Float(bitPattern: bits)
        }
    }
}

/// An image of the gallery without its thumbnail; `feature` is the column.
struct Stored {
    let name: String
    let label: String
    let feature: [UInt8]
}

/// A thumbnail and a feature, as they are stored.
struct Picture {
    let width: Int
    let height: Int
    let thumbnail: [UInt8]
    let feature: [UInt8]
}

/// A value in a row or in a statement.
enum Value: Equatable {
    case int(Int)
    case text(String)
    case bytes([UInt8])

    var int: Int { if case .int(let value) = self { return value } else { return 0 } }
    var text: String { if case .text(let value) = self { return value } else { return "" } }
    var bytes: [UInt8] { if case .bytes(let value) = self { return value } else { return [] } }
}

/// An open SQLite file.
final class Database {
    private var handle: OpaquePointer?
    private let path: String

    init(_ file: URL) throws {
        path = file.path
        guard sqlite3_open_v2(path, &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nil) == SQLITE_OK else {
            defer { sqlite3_close(handle) }
            throw failure()
        }
        // One file that can be copied at any time, without a log beside it.
        _ = try rows("PRAGMA journal_mode = DELETE")
    }

    deinit { sqlite3_close(handle) }

    /// Executes a statement; returns its rows.
    @discardableResult
    func rows(_ sql: String, _ values: [Value] = []) throws -> [[Value]] {
        var statement: OpaquePointer?
        defer { sqlite3_finalize(statement) }
        guard sqlite3_prepare_v2(handle, sql, -1, &statement, nil) == SQLITE_OK else { throw failure() }
        let copied = unsafeBitCast(-1, to: sqlite3_destructor_type.self) // SQLITE_TRANSIENT
        for (place, value) in values.enumerated() {
            let index = Int32(place + 1)
            switch value {
            case .int(let number): sqlite3_bind_int64(statement, index, Int64(number))
            case .text(let text): sqlite3_bind_text(statement, index, text, -1, copied)
            case .bytes(let bytes): sqlite3_bind_blob(statement, index, bytes, Int32(bytes.count), copied)
            }
        }
        var found: [[Value]] = []
        while true {
            switch sqlite3_step(statement) {
            case SQLITE_ROW: found.append((0..<sqlite3_column_count(statement)).map { cell(statement, $0) })
            case SQLITE_DONE: return found
            default: throw failure()
            }
        }
    }

    /// Does `work` wholly or, if it throws, not at all.
    func transaction<T>(_ work: () throws -> T) throws -> T {
        try rows("BEGIN IMMEDIATE")
        do {
            let result = try work()
            try rows("COMMIT")
            return result
        } catch {
            _ = try? rows("ROLLBACK")
            throw error
        }
    }

    private func cell(_ statement: OpaquePointer?, _ column: Int32) -> Value {
        switch sqlite3_column_type(statement, column) {
        case SQLITE_INTEGER: return .int(Int(sqlite3_column_int64(statement, column)))
        case SQLITE_TEXT: return .text(String(cString: sqlite3_column_text(statement, column)))
        default:
            let count = Int(sqlite3_column_bytes(statement, column))
            guard count > 0, let start = sqlite3_column_blob(statement, column) else { return .bytes([]) }
            return .bytes([UInt8](UnsafeRawBufferPointer(start: start, count: count)))
        }
    }

    private func failure() -> OfflineIndexError {
        OfflineIndexError("\(path): \(String(cString: sqlite3_errmsg(handle)))")
    }
}

/// The file. Images are sorted by name and numbered from 0, so that the same photographs give the same content whichever
/// way they came in, and `compress index` and the app continue each other's files.
final class GalleryFile {
    /// Whether the older model made the features.
    let older: Bool
    /// False for the gallery of a run or of an older model, which can only be searched.
    let writable: Bool

    private let database: Database
    private let origin: [String: Value]

    /// - Parameters:
    ///   - origin: what made the features: the values of `meta` that do not depend on the photographs.
    ///   - olderModel: the model whose galleries can be searched, too.
    init(_ file: URL, origin: [String: Value], olderModel: Older? = nil) throws {
        database = try Database(file)
        self.origin = origin
        let tables = try database.rows("SELECT name FROM sqlite_master WHERE type = 'table'").map(\.[0].text)
        if !tables.contains("meta") {
            let database = self.database
            try database.transaction { for table in GalleryFile.tables { try database.rows(table) } }
        }
        let meta = try GalleryFile.meta(database)
        let (space, ours) = (meta["space_id"], origin["space_id"])
        older = space != ours && olderModel != nil && space == olderModel.map { Value.text($0.space_id) }
        writable = meta.isEmpty || (meta["artifact"] != nil && !older)
        if meta.isEmpty {
            try database.transaction { try writeMeta(0) }
        } else {
            try check(meta, olderModel)
        }
    }

    private func check(_ meta: [String: Value], _ olderModel: Older?) throws {
        guard case .int(let schema)? = meta["schema"] else {
            throw OfflineIndexError("the gallery is damaged: it has no schema")
        }
        if schema > 1 { throw OfflineIndexError("the gallery is newer than this app; update the app") }
        if older, let model = olderModel { return try checkOlder(meta, model) }
        let needed = ["space_id", "dim", "kind", "distance"] + (writable ? ["artifact_sha256", "artifact", "runtime"] : [])
        for key in needed where meta[key] != origin[key] {
            let (found, ours) = (meta[key].map(json) ?? "missing", origin[key].map(json) ?? "missing")
            throw OfflineIndexError("the gallery's \(key) is \(found), this artifact's is \(ours); make a new gallery")
        }
    }

    /// As `compress search` does.
    private func checkOlder(_ meta: [String: Value], _ model: Older) throws {
        guard meta["dim"] == .int(model.dim), meta["kind"] == origin["kind"], meta["distance"] == origin["distance"] else {
            let what = "its embeddings are not those of its space \(model.space_id)"
            throw OfflineIndexError("the gallery is damaged: \(what)")
        }
        if let gate = model.failedGate {
            let what = "an older model made the gallery, in which this one finds less"
            throw OfflineIndexError("\(what) (\(gate) failed); make a new gallery")
        }
    }

    private static func meta(_ database: Database) throws -> [String: Value] {
        var found: [String: Value] = [:]
        for row in try database.rows("SELECT key, value FROM meta") {
            let value = try JSONSerialization.jsonObject(with: Data(row[1].text.utf8), options: [.fragmentsAllowed])
            if let text = value as? String {
                found[row[0].text] = .text(text)
            } else if let number = value as? NSNumber {
                found[row[0].text] = .int(number.intValue)
            }
        }
        return found
    }

    /// All images in their order.
    func images() throws -> [Stored] {
        let rows = try database.rows("SELECT id, name, label, feature FROM images ORDER BY id")
        let count = try GalleryFile.meta(database)["images"]
        guard rows.map(\.[0].int) == Array(rows.indices), count == .int(rows.count) else {
            throw OfflineIndexError("the gallery is damaged: its images are not numbered from 0")
        }
        return rows.map { Stored(name: $0[1].text, label: $0[2].text, feature: $0[3].bytes) }
    }

    /// The JPEG of image `number`.
    func thumbnail(_ number: Int) throws -> Data? {
        try database.rows("SELECT thumbnail FROM images WHERE id = ?", [.int(number)]).first.map { Data($0[0].bytes) }
    }

    /// Changes the images; readers see all of it or nothing.
    func update<T>(_ work: (Change) throws -> T) throws -> T {
        guard writable else {
            let what = older ? "an older model" : "a run"
            throw OfflineIndexError("this is the gallery of \(what) and can only be searched; begin a new file")
        }
        return try database.transaction {
            let result = try work(Change(database))
            try number()
            return result
        }
    }

    /// What an update can do.
    final class Change {
        private let database: Database
        private var idOf: [String: Int] = [:]
        private var shaOf: [Int: [UInt8]] = [:]
        private var idWith: [[UInt8]: Int] = [:]
        private var next = 0

        fileprivate init(_ database: Database) throws {
            self.database = database
            for row in try database.rows("SELECT id, name FROM images") { idOf[row[1].text] = row[0].int }
            for row in try database.rows("SELECT id, sha256 FROM sources") {
                shaOf[row[0].int] = row[1].bytes
                idWith[row[1].bytes] = row[0].int
            }
            next = (idOf.values.max() ?? -1) + 1
        }

        /// The picture of a file with this content, if there is one.
        func known(_ sha256: [UInt8]) throws -> Picture? {
            guard let id = idWith[sha256] else { return nil }
            let columns = "width, height, thumbnail, feature"
            return try database.rows("SELECT \(columns) FROM images WHERE id = ?", [.int(id)]).first.map {
                Picture(width: $0[0].int, height: $0[1].int, thumbnail: $0[2].bytes, feature: $0[3].bytes)
            }
        }

        func put(_ name: String, label: String, sha256: [UInt8], _ picture: Picture) throws {
            try remove(name)
            let values: [Value] = [
                .int(next), .text(name), .text(label), .int(picture.width), .int(picture.height),
                .bytes(picture.thumbnail), .bytes(picture.feature),
            ]
            try database.rows("INSERT INTO images VALUES (?, ?, ?, -1, ?, ?, ?, ?)", values)
            try database.rows("INSERT INTO sources VALUES (?, ?)", [.int(next), .bytes(sha256)])
            idOf[name] = next
            shaOf[next] = sha256
            idWith[sha256] = next
            next += 1
        }

        /// False if there is no such image.
        @discardableResult
        func remove(_ name: String) throws -> Bool {
            guard let id = idOf.removeValue(forKey: name) else { return false }
            try database.rows("DELETE FROM images WHERE id = ?", [.int(id)])
            try database.rows("DELETE FROM sources WHERE id = ?", [.int(id)])
            if let sha256 = shaOf.removeValue(forKey: id), idWith[sha256] == id {
                // Another image may be a copy of the file.
                idWith[sha256] = shaOf.first { $0.value == sha256 }?.key
            }
            return true
        }
    }

    /// Numbers the images by name and the labels by label, as `compress index` does.
    private func number() throws {
        let ids = try database.rows("SELECT id FROM images ORDER BY name").map(\.[0].int)
        for table in ["images", "sources"] {
            // Through negative numbers, because a number may still be in use.
            for (number, id) in ids.enumerated() where number != id {
                try database.rows("UPDATE \(table) SET id = ? WHERE id = ?", [.int(-1 - number), .int(id)])
            }
            try database.rows("UPDATE \(table) SET id = -1 - id WHERE id < 0")
        }
        var numbers = ["": -1]
        for row in try database.rows("SELECT DISTINCT label FROM images WHERE label <> '' ORDER BY label") {
            numbers[row[0].text] = numbers.count - 1
        }
        for row in try database.rows("SELECT DISTINCT label, class FROM images") {
            guard let number = numbers[row[0].text], number != row[1].int else { continue }
            try database.rows("UPDATE images SET class = ? WHERE label = ?", [.int(number), row[0]])
        }
        try writeMeta(ids.count)
    }

    private func writeMeta(_ images: Int) throws {
        for (key, value) in origin.merging(["images": .int(images), "of": .int(images)], uniquingKeysWith: { $1 }) {
            try database.rows("INSERT OR REPLACE INTO meta VALUES (?, ?)", [.text(key), .text(json(value))])
        }
    }

    private func json(_ value: Value) -> String {
        guard case .text(let text) = value else { return String(value.int) }
        let encoded = (try? JSONEncoder().encode(text)) ?? Data()
        return String(decoding: encoded, as: UTF8.self)
    }

    private static let tables = [
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        """
        CREATE TABLE images (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, label TEXT NOT NULL, \
        class INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, thumbnail BLOB NOT NULL, \
        feature BLOB NOT NULL)
        """,
        "CREATE TABLE sources (id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL)",
    ]
}
