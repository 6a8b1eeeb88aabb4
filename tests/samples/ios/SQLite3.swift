// What the samples use of SQLite's C interface, as Swift imports it.

public let SQLITE_OPEN_READONLY: Int32 = 1, SQLITE_OPEN_READWRITE: Int32 = 2, SQLITE_OPEN_CREATE: Int32 = 4
public let SQLITE_OK: Int32 = 0, SQLITE_ROW: Int32 = 100, SQLITE_DONE: Int32 = 101
public let SQLITE_INTEGER: Int32 = 1, SQLITE_TEXT: Int32 = 3
public typealias sqlite3_destructor_type = @convention(c) (UnsafeMutableRawPointer?) -> Void
@discardableResult public func sqlite3_close(_ db: OpaquePointer?) -> Int32 { fatalError() }
public func sqlite3_open_v2(
    _ path: UnsafePointer<CChar>?, _ db: UnsafeMutablePointer<OpaquePointer?>?, _ flags: Int32, _ vfs: UnsafePointer<CChar>?
) -> Int32 { fatalError() }
public func sqlite3_prepare_v2(
    _ db: OpaquePointer?, _ sql: UnsafePointer<CChar>?, _ bytes: Int32, _ statement: UnsafeMutablePointer<OpaquePointer?>?,
    _ tail: UnsafeMutablePointer<UnsafePointer<CChar>?>?
) -> Int32 { fatalError() }
@discardableResult public func sqlite3_step(_ statement: OpaquePointer?) -> Int32 { fatalError() }
@discardableResult public func sqlite3_finalize(_ statement: OpaquePointer?) -> Int32 { fatalError() }
public func sqlite3_column_text(_ statement: OpaquePointer?, _ column: Int32) -> UnsafePointer<UInt8>! { fatalError() }
public func sqlite3_column_blob(_ statement: OpaquePointer?, _ column: Int32) -> UnsafeRawPointer! { fatalError() }
public func sqlite3_column_bytes(_ statement: OpaquePointer?, _ column: Int32) -> Int32 { fatalError() }
public func sqlite3_column_type(_ statement: OpaquePointer?, _ column: Int32) -> Int32 { fatalError() }
public func sqlite3_column_int64(_ statement: OpaquePointer?, _ column: Int32) -> Int64 { fatalError() }
public func sqlite3_column_count(_ statement: OpaquePointer?) -> Int32 { fatalError() }
public func sqlite3_errmsg(_ db: OpaquePointer?) -> UnsafePointer<CChar>! { fatalError() }
@discardableResult public func sqlite3_bind_int64(_ statement: OpaquePointer?, _ index: Int32, _ value: Int64) -> Int32 { fatalError() }
@discardableResult public func sqlite3_bind_text(
    _ statement: OpaquePointer?, _ index: Int32, _ text: UnsafePointer<CChar>?, _ bytes: Int32,
    _ destructor: sqlite3_destructor_type?
) -> Int32 { fatalError() }
@discardableResult public func sqlite3_bind_blob(
    _ statement: OpaquePointer?, _ index: Int32, _ blob: UnsafeRawPointer?, _ bytes: Int32,
    _ destructor: sqlite3_destructor_type?
) -> Int32 { fatalError() }
