public protocol Scalar {}
extension UInt8: Scalar {}
extension Float: Scalar {}

public protocol ValueConvertible {}

public final class Tensor<T: Scalar>: ValueConvertible {
    public init(_ scalars: [T], shape: [Int]) {}
    public func scalars() -> [T] { [] }
}

public struct Value {
    public var string: String? { nil }
    public func tensor<T: Scalar>() -> Tensor<T>? { nil }
}

public final class Module {
    public init(filePath: String) {}
    public func load(_ method: String) throws {}
    public func execute(_ method: String, _ inputs: [ValueConvertible]) throws -> [Value] { [] }
    public func forward(_ input: ValueConvertible) throws -> [Value] { [] }
}
