// What the samples use of Apple's PhotosUI; signatures are those of the real framework, less what they do not need.

import Foundation
import SwiftUI

public struct PHPickerFilter { public static let images = PHPickerFilter() }
public class PHPhotoLibrary { public static func shared() -> PHPhotoLibrary { fatalError() } }
public struct PhotosPickerItem: Equatable, Sendable {
    public var itemIdentifier: String? { fatalError() }
    public func loadTransferable(type: Data.Type) async throws -> Data? { fatalError() }
}
public struct PhotosPicker: View {
    public init(
        _ title: String, selection: Binding<[PhotosPickerItem]>, matching: PHPickerFilter?, photoLibrary: PHPhotoLibrary
    ) {}
    public init(
        _ title: String, selection: Binding<PhotosPickerItem?>, matching: PHPickerFilter?, photoLibrary: PHPhotoLibrary
    ) {}
    public var body: Never { fatalError() }
}
