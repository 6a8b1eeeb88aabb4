package android.graphics

import java.awt.image.BufferedImage
import java.awt.image.IndexColorModel
import java.io.ByteArrayInputStream
import java.io.File
import java.io.OutputStream
import javax.imageio.IIOImage
import javax.imageio.ImageIO
import javax.imageio.ImageWriteParam

class Bitmap(private val image: BufferedImage) {
    val width: Int get() = image.width
    val height: Int get() = image.height

    fun getPixels(pixels: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int) {
        if (image.colorModel.numComponents > 1 || image.colorModel is IndexColorModel) {
            image.getRGB(x, y, width, height, pixels, offset, stride)
            return
        }
        check(offset == 0 && stride == width)
        // As Android has it; Java's getRGB would take grey for linear light.
        for (i in 0 until width * height) {
            pixels[i] = (255 shl 24) or image.raster.getSample(x + i % width, y + i / width, 0) * 0x010101
        }
    }

    fun setColorSpace(colorSpace: ColorSpace) = check(colorSpace.name == ColorSpace.Named.SRGB)

    fun compress(format: CompressFormat, quality: Int, stream: OutputStream): Boolean {
        check(format == CompressFormat.JPEG)
        val writer = ImageIO.getImageWritersByFormatName("jpeg").next()
        val param = writer.defaultWriteParam
        param.compressionMode = ImageWriteParam.MODE_EXPLICIT
        param.compressionQuality = quality / 100f
        ImageIO.createImageOutputStream(stream).use {
            writer.output = it
            writer.write(null, IIOImage(image, null, null), param)
        }
        writer.dispose()
        return true
    }

    enum class Config { ARGB_8888 }

    enum class CompressFormat { JPEG }

    companion object {
        @JvmStatic
        fun createBitmap(colors: IntArray, width: Int, height: Int, config: Config): Bitmap {
            check(config == Config.ARGB_8888)
            val image = BufferedImage(width, height, BufferedImage.TYPE_INT_RGB)
            image.setRGB(0, 0, width, height, colors, 0, width)
            return Bitmap(image)
        }
    }
}

class ColorSpace private constructor(val name: Named) {
    enum class Named { SRGB }

    companion object {
        @JvmStatic fun get(name: Named): ColorSpace = ColorSpace(name)
    }
}

object BitmapFactory {
    class Options {
        @JvmField var inPremultiplied = true
        @JvmField var inPreferredConfig: Bitmap.Config? = Bitmap.Config.ARGB_8888
    }

    @JvmStatic
    fun decodeByteArray(data: ByteArray, offset: Int, length: Int): Bitmap? =
        runCatching { ImageIO.read(ByteArrayInputStream(data, offset, length)) }.getOrNull()?.let { Bitmap(it) }

    @JvmStatic
    fun decodeFile(path: String): Bitmap = Bitmap(ImageIO.read(File(path)))

    @JvmStatic
    fun decodeByteArray(data: ByteArray, offset: Int, length: Int, options: Options): Bitmap? {
        check(!options.inPremultiplied)
        return decodeByteArray(data, offset, length)
    }
}
