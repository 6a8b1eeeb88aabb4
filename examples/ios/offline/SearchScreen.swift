// A screen to search with: pick photographs into the gallery, search it with one of the album or of the camera. Put it
// into the new project's ContentView; README.md says how. iOS 16.

import Foundation
import PhotosUI
import SwiftUI
import UIKit

/// The folder `bundle` of the app has bundle.json and this file.
let artifactPath = "artifacts/quickstart.fp16.mlpackage"

/// Of this share of different things, the screen may say that they match.
let falseAccepts = 0.01

/// An image that was found.
struct Found: Identifiable, Sendable {
    let id: String
    let words: String
    let thumbnail: Data
}

/// The gallery, used by one task at a time and off the main thread.
actor Album {
    private var opened: OfflineIndex?

    private func index() async throws -> OfflineIndex {
        if let opened { return opened }
        guard let bundle = Bundle.main.url(forResource: "bundle", withExtension: nil) else {
            throw OfflineIndexError("the app has no folder 'bundle'; add it as a folder reference")
        }
        let support = try FileManager.default.url(
            for: .applicationSupportDirectory, in: .userDomainMask, appropriateFor: nil, create: true
        )
        let file = support.appendingPathComponent("gallery.sqlite")
        let index = try await openOfflineIndex(bundle: bundle, path: artifactPath, gallery: file)
        opened = index
        return index
    }

    func count() async throws -> Int { try await index().count }

    func add(_ name: String, _ photo: Data) async throws -> Bool {
        try await index().add([Photo(name: name) { photo }]).undecodable.isEmpty
    }

    func search(_ photo: Data) async throws -> [Found] {
        let index = try await index()
        let within = index.threshold(falseAcceptRate: falseAccepts) ?? .infinity
        return try index.search(photo, top: 10, within: within).map { match in
            let words = "\(match.name) \(match.label) \(String(format: "%.3f", match.distance))"
            return Found(id: match.name, words: words, thumbnail: try index.thumbnail(match.name) ?? Data())
        }
    }
}

struct SearchScreen: View {
    @State private var album = Album()
    @State private var added: [PhotosPickerItem] = []
    @State private var query: PhotosPickerItem?
    @State private var shooting = false
    @State private var status = ""
    @State private var found: [Found] = []

    var body: some View {
        VStack(spacing: 16) {
            PhotosPicker("Add photographs", selection: $added, matching: .images, photoLibrary: .shared())
            PhotosPicker("Search with a photograph", selection: $query, matching: .images, photoLibrary: .shared())
            Button("Take one") { shooting = true }
            Text(status)
            List(found) { each in
                HStack {
                    Image(uiImage: UIImage(data: each.thumbnail) ?? UIImage())
                    Text(each.words)
                }
            }
        }
        .task { await shown { "\(try await album.count()) photographs" } }
        .task(id: added) { await add() }
        .task(id: query) {
            guard let query else { return }
            await shown { try await search(try await query.loadTransferable(type: Data.self)) }
        }
        .sheet(isPresented: $shooting) {
            Camera { photo in
                shooting = false
                Task { await shown { try await search(photo) } }
            }
        }
    }

    private func add() async {
        for (number, item) in added.enumerated() {
            await shown {
                let name = item.itemIdentifier ?? UUID().uuidString
                guard let photo = try await item.loadTransferable(type: Data.self), try await album.add(name, photo) else {
                    return "\(name) is not readable"
                }
                return "\(number + 1) of \(added.count) added, \(try await album.count()) photographs"
            }
        }
    }

    private func search(_ photo: Data?) async throws -> String {
        guard let photo else { return "" }
        let clock = ContinuousClock()
        let start = clock.now
        found = try await album.search(photo)
        let milliseconds = Int((clock.now - start) / .milliseconds(1))
        let words = found.isEmpty ? "no match among" : "nearest of"
        return "\(words) \(try await album.count()) photographs in \(milliseconds) ms"
    }

    /// Shows what `task` says, or what goes wrong.
    private func shown(_ task: () async throws -> String) async {
        do {
            status = try await task()
        } catch {
            status = String(describing: error)
        }
    }
}

/// The camera, as a screen of its own; needs NSCameraUsageDescription. Gives nil if nothing was taken.
struct Camera: UIViewControllerRepresentable {
    let taken: (Data?) -> Void

    func makeUIViewController(context: Context) -> UIImagePickerController {
        let camera = UIImagePickerController()
        camera.sourceType = .camera
        camera.delegate = context.coordinator
        return camera
    }

    func updateUIViewController(_ controller: UIImagePickerController, context: Context) {}

    func makeCoordinator() -> Coordinator { Coordinator(taken) }

    final class Coordinator: NSObject, UIImagePickerControllerDelegate, UINavigationControllerDelegate {
        private let taken: (Data?) -> Void

        init(_ taken: @escaping (Data?) -> Void) { self.taken = taken }

        func imagePickerController(
            _ picker: UIImagePickerController, didFinishPickingMediaWithInfo info: [UIImagePickerController.InfoKey: Any]
        ) {
            taken((info[.originalImage] as? UIImage)?.jpegData(compressionQuality: 0.95))
        }

        func imagePickerControllerDidCancel(_ picker: UIImagePickerController) { taken(nil) }
    }
}
