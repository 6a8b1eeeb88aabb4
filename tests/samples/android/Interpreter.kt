package org.tensorflow.lite

import java.io.DataInputStream
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import samples.start

/** LiteRT in a process of phone.py: bytes of an image in, float32 out. */
class Interpreter(file: File, options: Options) : AutoCloseable {
    class Options {
        internal var threads = 1

        fun setNumThreads(count: Int): Options = apply { threads = count }
    }

    private val process = start(file.path, options.threads.toString())
    private val answers = DataInputStream(process.inputStream)

    init {
        require(answers.read() == 1) { "LiteRT refuses ${file.name}" }
    }

    fun run(input: Any, output: Any) {
        val pixels = ByteArray((input as ByteBuffer).remaining())
        input.get(pixels)
        process.outputStream.write(pixels)
        process.outputStream.flush()
        @Suppress("UNCHECKED_CAST") val row = (output as Array<FloatArray>)[0]
        val bytes = ByteArray(row.size * 4)
        answers.readFully(bytes)
        ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(row)
    }

    override fun close() {
        process.outputStream.close()
        process.waitFor()
    }
}
