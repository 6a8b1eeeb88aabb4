// What the samples use of Apple's UIKit; signatures are those of the real framework.

import CoreGraphics
import Foundation

public class UIImage {
    public enum Orientation: Int { case up, down, left, right, upMirrored, downMirrored, leftMirrored, rightMirrored }
    public init() {}
    public init?(data: Data) {}
    public init(cgImage: CGImage) {}
    public var cgImage: CGImage? { fatalError() }
    public var imageOrientation: Orientation { fatalError() }
    public func jpegData(compressionQuality: CGFloat) -> Data? { fatalError() }
}
@MainActor open class UIViewController {
    public init() {}
}
@MainActor public protocol UINavigationControllerDelegate: AnyObject {}
@MainActor public protocol UIImagePickerControllerDelegate: AnyObject {
    func imagePickerController(
        _ picker: UIImagePickerController, didFinishPickingMediaWithInfo info: [UIImagePickerController.InfoKey: Any]
    )
    func imagePickerControllerDidCancel(_ picker: UIImagePickerController)
}
public class UIImagePickerController: UIViewController {
    public struct InfoKey: Hashable, Sendable {
        public static let originalImage = InfoKey()
    }
    public enum SourceType { case camera }
    public var sourceType = SourceType.camera
    public weak var delegate: (any UIImagePickerControllerDelegate & UINavigationControllerDelegate)?
}
