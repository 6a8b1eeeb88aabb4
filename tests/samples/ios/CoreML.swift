// What the samples use of Apple's Core ML; signatures are those of the real framework.

import CoreVideo
import Foundation

public enum MLComputeUnits { case cpuOnly, cpuAndGPU, all, cpuAndNeuralEngine }
public class MLModelConfiguration {
    public init() {}
    public var computeUnits = MLComputeUnits.all
}
public class MLImageConstraint {}
public class MLFeatureDescription { public var imageConstraint: MLImageConstraint? { fatalError() } }
public class MLModelDescription { public var inputDescriptionsByName: [String: MLFeatureDescription] { fatalError() } }
public class MLMultiArray {
    public var count: Int { fatalError() }
    public subscript(_ index: Int) -> NSNumber { fatalError() }
}
public class MLFeatureValue {
    public struct ImageOption: Hashable {}
    public init(pixelBuffer: CVPixelBuffer) {}
    public init(imageAt url: URL, constraint: MLImageConstraint, options: [ImageOption: Any]?) throws {}
    public var multiArrayValue: MLMultiArray? { fatalError() }
}
public protocol MLFeatureProvider { func featureValue(for name: String) -> MLFeatureValue? }
public class MLDictionaryFeatureProvider: MLFeatureProvider {
    public init(dictionary: [String: Any]) throws {}
    public func featureValue(for name: String) -> MLFeatureValue? { fatalError() }
}
public class MLModel {
    public init(contentsOf url: URL) throws {}
    public init(contentsOf url: URL, configuration: MLModelConfiguration) throws {}
    public static func compileModel(at url: URL) async throws -> URL { fatalError() }
    public func prediction(from input: MLFeatureProvider) throws -> MLFeatureProvider { fatalError() }
    public var modelDescription: MLModelDescription { fatalError() }
}

public class MLCPUComputeDevice {}
public class MLGPUComputeDevice {}
public class MLNeuralEngineComputeDevice {}
public enum MLComputeDevice {
    case cpu(MLCPUComputeDevice), gpu(MLGPUComputeDevice), neuralEngine(MLNeuralEngineComputeDevice)
}
public enum MLModelStructure {
    public struct Program {
        public struct Operation {}
        public struct Block { public var operations: [Operation] { fatalError() } }
        public struct Function { public var block: Block { fatalError() } }
        public var functions: [String: Function] { fatalError() }
    }
    case program(Program), unsupported
}
public class MLComputePlan {
    public struct DeviceUsage { public var preferred: MLComputeDevice { fatalError() } }
    public static func load(contentsOf url: URL, configuration: MLModelConfiguration) async throws -> MLComputePlan { fatalError() }
    public var modelStructure: MLModelStructure { fatalError() }
    public func deviceUsage(for operation: MLModelStructure.Program.Operation) -> DeviceUsage? { fatalError() }
}
