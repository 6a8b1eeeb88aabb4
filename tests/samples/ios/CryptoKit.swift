// What the samples use of Apple's CryptoKit; signatures are those of the real framework.

import Foundation

public enum SHA256 {
    public struct Digest: Sequence {
        public func makeIterator() -> Array<UInt8>.Iterator { fatalError() }
    }
    public static func hash<D: DataProtocol>(data: D) -> Digest { fatalError() }
}
