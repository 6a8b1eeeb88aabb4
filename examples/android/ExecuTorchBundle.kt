// The bundle check on ExecuTorch, for apps that load the .pte file, say those that come from PyTorch Mobile and its .ptl.
// build.gradle: implementation "org.pytorch:executorch-android:1.5.1"

package compress.check

import java.io.File
import org.json.JSONObject
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor

/** The network in a .pte file; call [close] when it is no longer needed. */
class ExecuTorchNetwork(file: File, private val height: Int, private val width: Int) : AutoCloseable {
    private val module = Module.load(file.path)

    /** What Compress wrote into the file: name, size, preprocessing. */
    fun metadata(): JSONObject = JSONObject(module.execute("metadata")[0].toStr())

    /** RGB bytes of one image, H x W x 3, to its embedding. */
    fun embed(pixels: ByteArray): FloatArray {
        val shape = longArrayOf(1, 3, height.toLong(), width.toLong())
        val image = Tensor.fromBlobUnsigned(channelsFirst(pixels), shape)
        return module.forward(EValue.from(image))[0].toTensor().dataAsFloatArray
    }

    override fun close() = module.destroy()
}

/** H x W x 3 to 3 x H x W. */
fun channelsFirst(pixels: ByteArray): ByteArray {
    val count = pixels.size / 3
    return ByteArray(pixels.size) { pixels[it % count * 3 + it / count] }
}

fun checkExecuTorchOnThisPhone(bundle: File, artifact: String): List<Result> {
    val size = JSONObject(File(bundle, "bundle.json").readText()).getJSONObject("preprocess").getJSONArray("resize")
    return ExecuTorchNetwork(File(bundle, artifact), size.getInt(0), size.getInt(1)).use { network ->
        checkBundle(bundle, artifact, readGallery(File(bundle, "gallery/gallery.sqlite")), network::embed)
    }
}
