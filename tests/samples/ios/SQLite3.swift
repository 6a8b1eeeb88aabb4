// What the samples use of SQLite's C interface, as Swift imports it.

public let SQLITE_OPEN_READONLY: Int32 = 1, SQLITE_OK: Int32 = 0, SQLITE_ROW: Int32 = 100
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
