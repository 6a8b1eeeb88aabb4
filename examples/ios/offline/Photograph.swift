// A photograph's way to the network: upright, RGB on white, resized exactly as training and `compress index` did it.
// Plain Swift; only the decoding of files is the platform's.

import Foundation

/// A decoded picture: RGBA bytes row by row, alpha not multiplied into the colours, and its EXIF orientation, 1 to 8.
struct Raster {
    let width: Int
    let height: Int
    let rgba: [UInt8]
    var orientation = 1
}

/// What only the platform can do.
protocol Platform {
    /// Decodes a file as it is, not turned; nil if it is no picture.
    func decode(_ file: Data) -> Raster?

    /// A JPEG file of RGB bytes, `height` x `width` x 3.
    func jpeg(_ rgb: [UInt8], width: Int, height: Int) throws -> Data

    func sha256(_ data: Data) -> [UInt8]
}

/// The key `preprocess` of bundle.json.
struct Preprocess: Decodable {
    let color: String
    let resize: [Int]
    let crop: String
    let interpolation: String
    let antialias: Bool
    let mean: [Double]

    var height: Int { resize[0] }
    var width: Int { resize[1] }

    func check() throws {
        for (key, value, known) in [
            ("color", color, ["RGB"]), ("interpolation", interpolation, ["bilinear"]), ("crop", crop, ["none", "center", "pad"]),
        ] where !known.contains(value) {
            throw OfflineIndexError("bundle.json: preprocess.\(key) is \(value); update OfflineIndex")
        }
    }
}

/// The artifact's input: RGB bytes, H x W x 3.
func prepare(_ picture: Raster, _ preprocess: Preprocess) -> [UInt8] {
    let upright = Upright(picture)
    let (width, height) = (preprocess.width, preprocess.height)
    guard preprocess.crop == "pad" else {
        let box = sourceBox(upright.width, upright.height, preprocess)
        return resized(upright, box, width: width, height: height, antialias: preprocess.antialias)
    }
    let (w, h) = (Double(upright.width), Double(upright.height))
    let scale = min(Double(width) / w, Double(height) / h)
    let wide = min(width, max(1, Int((w * scale).rounded(.toNearestOrEven))))
    let high = min(height, max(1, Int((h * scale).rounded(.toNearestOrEven))))
    let whole = Box(left: 0, top: 0, right: Float(w), bottom: Float(h))
    let fitting = resized(upright, whole, width: wide, height: high, antialias: preprocess.antialias)
    let background = preprocess.mean.map { UInt8((255 * $0).rounded(.toNearestOrEven)) }
    var out = (0..<height * width * 3).map { background[$0 % 3] }
    for y in 0..<high {
        let to = ((y + (height - high) / 2) * width + (width - wide) / 2) * 3
        out.replaceSubrange(to..<to + wide * 3, with: fitting[y * wide * 3..<(y + 1) * wide * 3])
    }
    return out
}

/// A part of a picture in another size: RGB bytes.
private func resized(_ upright: Upright, _ box: Box, width: Int, height: Int, antialias: Bool) -> [UInt8] {
    let across = Filter(upright.width, box.left, box.right, width, antialias)
    let down = Filter(upright.height, box.top, box.bottom, height, antialias)
    let top = down.first[0]
    let bottom = down.first[height - 1] + down.weights[height - 1].count

    let length = width * 3
    var line = [UInt8](repeating: 0, count: upright.width * 3)
    var narrow = [UInt8](repeating: 0, count: (bottom - top) * length)
    for y in top..<bottom {
        upright.row(y, into: &line)
        across.row(line, into: &narrow, at: (y - top) * length)
    }
    return down.columns(narrow, offset: top, length: length)
}

/// RGB bytes in another size, for thumbnails.
func resized(_ rgb: [UInt8], width: Int, height: Int, toWidth: Int, toHeight: Int) -> [UInt8] {
    var rgba = [UInt8](repeating: 255, count: width * height * 4)
    for i in 0..<width * height {
        for channel in 0..<3 { rgba[4 * i + channel] = rgb[3 * i + channel] }
    }
    let upright = Upright(Raster(width: width, height: height, rgba: rgba))
    let whole = Box(left: 0, top: 0, right: Float(width), bottom: Float(height))
    return resized(upright, whole, width: toWidth, height: toHeight, antialias: true)
}

/// A picture as EXIF says that it is to be shown, in front of white.
private struct Upright {
    let picture: Raster
    let width: Int
    let height: Int

    init(_ picture: Raster) {
        self.picture = picture
        let sideways = picture.orientation >= 5
        width = sideways ? picture.height : picture.width
        height = sideways ? picture.width : picture.height
    }

    /// RGB bytes of a row.
    func row(_ y: Int, into line: inout [UInt8]) {
        // The row of the file, or its column, and whether it is read backwards.
        let turn = picture.orientation
        let sideways = turn >= 5
        let backwards = [2, 3, 6, 7].contains(turn)
        let number = [3, 4, 7, 8].contains(turn) ? height - 1 - y : y
        for x in 0..<width {
            let along = backwards ? width - 1 - x : x
            let pixel = 4 * (sideways ? along * picture.width + number : number * picture.width + along)
            let alpha = Int(picture.rgba[pixel + 3])
            for channel in 0..<3 {
                let value = picture.rgba[pixel + channel]
                line[3 * x + channel] = alpha == 255 ? value : onWhite(Int(value), alpha)
            }
        }
    }

    /// Rounded as Pillow's alpha_composite does.
    private func onWhite(_ value: Int, _ alpha: Int) -> UInt8 {
        let mixed = (value * alpha + 255 * (255 - alpha)) * 128 + (128 << 7)
        return UInt8((((mixed >> 8) + mixed) >> 8) >> 7)
    }
}

private struct Box {
    let left: Float
    let top: Float
    let right: Float
    let bottom: Float
}

/// The part of the picture that is used.
private func sourceBox(_ width: Int, _ height: Int, _ preprocess: Preprocess) -> Box {
    if preprocess.crop == "none" {
        return Box(left: 0, top: 0, right: Float(width), bottom: Float(height))
    }
    // As if the shorter side were resized and the centre cut out of the result.
    let (w, h) = (Double(width), Double(height))
    let scale = max(Double(preprocess.width) / w, Double(preprocess.height) / h)
    let wide = max(preprocess.width, Int((w * scale).rounded(.toNearestOrEven)))
    let high = max(preprocess.height, Int((h * scale).rounded(.toNearestOrEven)))
    let left = (wide - preprocess.width) / 2
    let top = (high - preprocess.height) / 2
    let fx = w / Double(wide)
    let fy = h / Double(high)
    return Box(
        left: Float(Double(left) * fx), top: Float(Double(top) * fy),
        right: Float(min(w, Double(left + preprocess.width) * fx)),
        bottom: Float(min(h, Double(top + preprocess.height) * fy))
    )
}

/// One direction of Pillow's bilinear resize, in its fixed-point arithmetic: the same bytes on every phone. Each output
/// pixel is a sum of `weights` times the input pixels from `first` on.
private struct Filter {
    private(set) var first: [Int] = []
    private(set) var weights: [[Int]] = []

    private static let bits = 22
    private static let half = 1 << (bits - 1)

    init(_ size: Int, _ begin: Float, _ end: Float, _ out: Int, _ antialias: Bool) {
        let scale = Double(end - begin) / Double(out)
        let support = antialias ? max(scale, 1.0) : 1.0
        for at in 0..<out {
            let center = Double(begin) + (Double(at) + 0.5) * scale
            let low = max(0, Int(center - support + 0.5))
            let high = min(size, Int(center + support + 0.5))
            let triangle = (low..<high).map { (i: Int) -> Double in
                let distance = abs((Double(i) - center + 0.5) * (1 / support))
                return max(0.0, 1 - distance)
            }
            let sum = triangle.reduce(0, +)
            first.append(low)
            weights.append(triangle.map { Int(0.5 + $0 / sum * Double(1 << Filter.bits)) })
        }
    }

    /// Resizes a row of RGB bytes.
    func row(_ line: [UInt8], into out: inout [UInt8], at start: Int) {
        for x in weights.indices {
            for channel in 0..<3 {
                var sum = Filter.half
                var from = 3 * first[x] + channel
                for weight in weights[x] {
                    sum += weight * Int(line[from])
                    from += 3
                }
                out[start + 3 * x + channel] = rounded(sum)
            }
        }
    }

    /// Resizes rows of `length` bytes, of which the first is row `offset` of the picture.
    func columns(_ rows: [UInt8], offset: Int, length: Int) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: weights.count * length)
        for y in weights.indices {
            for x in 0..<length {
                var sum = Filter.half
                var at = (first[y] - offset) * length + x
                for weight in weights[y] {
                    sum += weight * Int(rows[at])
                    at += length
                }
                out[y * length + x] = rounded(sum)
            }
        }
        return out
    }

    private func rounded(_ sum: Int) -> UInt8 { UInt8(max(0, min(255, sum >> Filter.bits))) }
}
