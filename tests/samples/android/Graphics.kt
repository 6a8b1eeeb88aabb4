package android.graphics

import java.io.File
import javax.imageio.ImageIO

class Bitmap(private val image: java.awt.image.BufferedImage) {
    val width: Int get() = image.width
    val height: Int get() = image.height

    fun getPixels(pixels: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int) {
        image.getRGB(x, y, width, height, pixels, offset, stride)
    }
}

object BitmapFactory {
    @JvmStatic
    fun decodeFile(path: String): Bitmap = Bitmap(ImageIO.read(File(path)))
}
