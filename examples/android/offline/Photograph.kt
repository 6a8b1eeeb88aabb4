// A photograph's way to the network: upright, RGB on white, resized exactly as training and `compress index` did it.
// Plain Kotlin; only the decoding of JPEG, PNG and HEIC files is the platform's.

package compress.offline

import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.max
import kotlin.math.min
import org.json.JSONObject

/** A decoded picture as it is in the file, not turned: ARGB, 8 bits each, alpha not multiplied into the colours. */
interface Raster {
    val width: Int
    val height: Int

    /** Copies a part of the picture row by row into [into]. */
    fun read(x: Int, y: Int, width: Int, height: Int, into: IntArray)
}

/** What only the platform can do with pictures. */
interface Pictures {
    /** Decodes a file's bytes without applying an EXIF turn of JPEG, PNG or WebP; null if they are no picture. */
    fun decode(file: ByteArray): Raster?

    /** A JPEG file of RGB bytes, [height] x [width] x 3. */
    fun jpeg(rgb: ByteArray, width: Int, height: Int): ByteArray
}

/**
 * The key `preprocess` of bundle.json.
 *
 * @param crop `none` squashes the picture, `center` cuts out its centre, `pad` puts all of it on [background]
 * @param antialias let the filter grow with the scale; without it, pixels between the samples are skipped
 * @param background RGB
 */
class Preprocess(
    val height: Int, val width: Int, val crop: String, val antialias: Boolean, val background: List<Int>
) {
    companion object {
        fun of(preprocess: JSONObject): Preprocess {
            fun only(key: String, vararg known: String): String = preprocess.getString(key).also {
                if (it !in known) throw OfflineIndexException("bundle.json: preprocess.$key is $it; update OfflineIndex")
            }
            only("color", "RGB")
            only("interpolation", "bilinear")
            val size = preprocess.getJSONArray("resize")
            val mean = preprocess.getJSONArray("mean")
            return Preprocess(
                size.getInt(0), size.getInt(1), only("crop", "none", "center", "pad"), preprocess.getBoolean("antialias"),
                List(3) { Math.rint(255 * mean.getDouble(it)).toInt() }
            )
        }
    }
}

/** The artifact's input: RGB bytes, H x W x 3. [orientation] is the EXIF tag, 1 to 8. */
fun prepare(picture: Raster, orientation: Int, preprocess: Preprocess): ByteArray {
    val upright = Upright(picture, orientation)
    val (height, width) = preprocess.height to preprocess.width
    if (preprocess.crop != "pad") {
        val box = sourceBox(upright.width, upright.height, preprocess)
        return resized(upright, box, width, height, preprocess.antialias)
    }
    val scale = min(width / upright.width.toDouble(), height / upright.height.toDouble())
    val wide = min(width, max(1, Math.rint(upright.width * scale).toInt()))
    val high = min(height, max(1, Math.rint(upright.height * scale).toInt()))
    val whole = Box(0f, 0f, upright.width.toFloat(), upright.height.toFloat())
    val fitting = resized(upright, whole, wide, high, preprocess.antialias)
    val out = ByteArray(height * width * 3) { preprocess.background[it % 3].toByte() }
    for (y in 0 until high) {
        val to = ((y + (height - high) / 2) * width + (width - wide) / 2) * 3
        fitting.copyInto(out, to, y * wide * 3, (y + 1) * wide * 3)
    }
    return out
}

/** A part of a picture in another size: RGB bytes. */
private fun resized(upright: Upright, box: Box, width: Int, height: Int, antialias: Boolean): ByteArray {
    val across = Filter(upright.width, box.left, box.right, width, antialias)
    val down = Filter(upright.height, box.top, box.bottom, height, antialias)
    val used = down.first.first() until down.first.last() + down.weights.last().size

    val line = IntArray(upright.width)
    val narrow = ByteArray(used.count() * width * 3)
    for (y in used) {
        upright.row(y, line)
        for (x in line.indices) line[x] = onWhite(line[x])
        across.row(line, narrow, (y - used.first) * width * 3)
    }
    val out = ByteArray(height * width * 3)
    down.columns(narrow, used.first, width * 3, out)
    return out
}

/** RGB bytes in another size, for thumbnails. */
fun resize(rgb: ByteArray, width: Int, height: Int, newWidth: Int, newHeight: Int): ByteArray {
    val whole = Box(0f, 0f, width.toFloat(), height.toFloat())
    return resized(Upright(RgbRaster(rgb, width, height), 1), whole, newWidth, newHeight, antialias = true)
}

private class RgbRaster(private val rgb: ByteArray, override val width: Int, override val height: Int) : Raster {
    override fun read(x: Int, y: Int, width: Int, height: Int, into: IntArray) {
        for (i in 0 until width * height) {
            val at = 3 * ((y + i / width) * this.width + x + i % width)
            into[i] = (255 shl 24) or (rgb.at(at) shl 16) or (rgb.at(at + 1) shl 8) or rgb.at(at + 2)
        }
    }
}

private fun ByteArray.at(index: Int): Int = this[index].toInt() and 255

// ------------------------------------------------------------------------------------------------------ EXIF turns

/** The EXIF orientation in a JPEG, PNG or WebP file, 1 to 8; 1 if there is none. HEIC decoders turn by themselves. */
fun orientation(file: ByteArray): Int {
    val tiff = tiffStart(file) ?: return 1
    fun byte(at: Int): Int = if (at in file.indices) file.at(at) else 0
    val little = byte(tiff) == 'I'.code
    fun short(at: Int): Int = if (little) byte(at) or (byte(at + 1) shl 8) else (byte(at) shl 8) or byte(at + 1)
    fun int(at: Int): Int = if (little) short(at) or (short(at + 2) shl 16) else (short(at) shl 16) or short(at + 2)
    if (short(tiff + 2) != 42) return 1
    val directory = tiff + int(tiff + 4)
    if (directory !in file.indices) return 1
    for (entry in 0 until short(directory)) {
        val at = directory + 2 + 12 * entry
        if (short(at) == 0x112) return short(at + 8).takeIf { it in 1..8 } ?: 1
    }
    return 1
}

/** Where the EXIF data begins, which is a small TIFF file. */
private fun tiffStart(file: ByteArray): Int? {
    fun text(at: Int, length: Int): String =
        if (at >= 0 && at + length <= file.size) String(file, at, length, Charsets.ISO_8859_1) else ""
    fun big(at: Int, count: Int): Int = (0 until count).fold(0) { sum, i -> (sum shl 8) or file.at(at + i) }
    fun little(at: Int): Int = (3 downTo 0).fold(0) { sum, i -> (sum shl 8) or file.at(at + i) }
    fun body(at: Int): Int = if (text(at, 6) == "Exif\u0000\u0000") at + 6 else at

    if (text(0, 2) == "\u00ff\u00d8") { // JPEG: segments of a marker and a length
        var at = 2
        while (at + 4 <= file.size && file.at(at) == 255) {
            val marker = file.at(at + 1)
            if (marker == 255) { // padding
                at += 1
                continue
            }
            if (marker == 0xda || marker == 0xd9) return null // the pixels begin
            if (marker == 0xe1 && text(at + 4, 6) == "Exif\u0000\u0000") return at + 10
            at += 2 + big(at + 2, 2)
        }
    } else if (text(1, 3) == "PNG") {
        var at = 8L
        while (at + 8 <= file.size) {
            if (text(at.toInt() + 4, 4) == "eXIf") return body(at.toInt() + 8)
            at += 12L + (big(at.toInt(), 4).toLong() and 0xffffffffL)
        }
    } else if (text(0, 4) == "RIFF" && text(8, 4) == "WEBP") {
        var at = 12L
        while (at + 8 <= file.size) {
            if (text(at.toInt(), 4) == "EXIF") return body(at.toInt() + 8)
            val length = little(at.toInt() + 4).toLong() and 0xffffffffL
            at += 8 + length + length % 2
        }
    }
    return null
}

/** A picture as EXIF says that it is to be shown. Rows are read one after the other. */
private class Upright(private val picture: Raster, private val orientation: Int) {
    private val sideways = orientation >= 5
    val width = if (sideways) picture.height else picture.width
    val height = if (sideways) picture.width else picture.height

    private val columns = IntArray(if (sideways) BLOCK * picture.height else 0)
    private var block = -1

    fun row(y: Int, into: IntArray) {
        if (!sideways) {
            picture.read(0, if (orientation == 3 || orientation == 4) height - 1 - y else y, width, 1, into)
            if (orientation == 2 || orientation == 3) into.reverse()
            return
        }
        // A column of the file. Some at once, because reading a column alone is slow.
        val column = if (orientation == 5 || orientation == 6) y else height - 1 - y
        val many = min(BLOCK, picture.width - column / BLOCK * BLOCK)
        if (column / BLOCK != block) {
            block = column / BLOCK
            picture.read(block * BLOCK, 0, many, picture.height, columns)
        }
        for (x in 0 until width) into[x] = columns[x * many + column % BLOCK]
        if (orientation == 6 || orientation == 7) into.reverse()
    }

    private companion object {
        const val BLOCK = 16
    }
}

/** RGB of a pixel in front of white, rounded as Pillow's alpha_composite does. */
private fun onWhite(argb: Int): Int {
    val alpha = argb ushr 24
    if (alpha == 255) return argb
    fun blend(shift: Int): Int {
        val mixed = (((argb shr shift) and 255) * alpha + 255 * (255 - alpha)) * 128 + (128 shl 7)
        return (((mixed shr 8) + mixed) shr 8 shr 7) shl shift
    }
    return blend(16) or blend(8) or blend(0)
}

// ---------------------------------------------------------------------------------------------------------- resize

private class Box(val left: Float, val top: Float, val right: Float, val bottom: Float)

/** The part of the picture that is used. */
private fun sourceBox(width: Int, height: Int, preprocess: Preprocess): Box {
    if (preprocess.crop == "none") return Box(0f, 0f, width.toFloat(), height.toFloat())
    // As if the shorter side were resized and the centre cut out of the result.
    val scale = max(preprocess.width / width.toDouble(), preprocess.height / height.toDouble())
    val wide = max(preprocess.width, Math.rint(width * scale).toInt())
    val high = max(preprocess.height, Math.rint(height * scale).toInt())
    val left = (wide - preprocess.width) / 2
    val top = (high - preprocess.height) / 2
    val fx = width / wide.toDouble()
    val fy = height / high.toDouble()
    return Box(
        (left * fx).toFloat(), (top * fy).toFloat(),
        min(width.toDouble(), (left + preprocess.width) * fx).toFloat(),
        min(height.toDouble(), (top + preprocess.height) * fy).toFloat()
    )
}

/**
 * One direction of Pillow's bilinear resize, in its fixed-point arithmetic: the same bytes on every phone. Each output
 * pixel is a sum of [weights] times the input pixels from [first] on.
 */
private class Filter(size: Int, begin: Float, end: Float, out: Int, antialias: Boolean) {
    val first = IntArray(out)
    val weights: Array<IntArray>

    init {
        val scale = (end - begin).toDouble() / out
        val support = if (antialias) max(scale, 1.0) else 1.0
        weights = Array(out) { at ->
            val center = begin + (at + 0.5) * scale
            val low = max(0, (center - support + 0.5).toInt())
            val high = min(size, (center + support + 0.5).toInt())
            first[at] = low
            val triangle = DoubleArray(high - low) { max(0.0, 1 - abs((it + low - center + 0.5) * (1 / support))) }
            val sum = triangle.sum()
            IntArray(high - low) { (0.5 + triangle[it] / sum * (1 shl BITS)).toInt() }
        }
    }

    /** Resizes a row of ARGB pixels into RGB bytes from [at] on. */
    fun row(line: IntArray, out: ByteArray, at: Int) {
        for (x in weights.indices) {
            var red = HALF
            var green = HALF
            var blue = HALF
            val from = first[x]
            val weight = weights[x]
            for (i in weight.indices) {
                val pixel = line[from + i]
                red += weight[i] * ((pixel shr 16) and 255)
                green += weight[i] * ((pixel shr 8) and 255)
                blue += weight[i] * (pixel and 255)
            }
            out[at + 3 * x] = rounded(red)
            out[at + 3 * x + 1] = rounded(green)
            out[at + 3 * x + 2] = rounded(blue)
        }
    }

    /** Resizes rows of [length] bytes, of which the first is row [offset] of the picture. */
    fun columns(rows: ByteArray, offset: Int, length: Int, out: ByteArray) {
        for (y in weights.indices) {
            val weight = weights[y]
            for (x in 0 until length) {
                var sum = HALF
                var at = (first[y] - offset) * length + x
                for (each in weight) {
                    sum += each * (rows[at].toInt() and 255)
                    at += length
                }
                out[y * length + x] = rounded(sum)
            }
        }
    }

    private fun rounded(sum: Int): Byte = (sum shr BITS).coerceIn(0, 255).toByte()

    private companion object {
        const val BITS = 22
        const val HALF = 1 shl (BITS - 1)
    }
}
