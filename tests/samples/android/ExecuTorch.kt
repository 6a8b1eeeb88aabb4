package org.pytorch.executorch

class Tensor private constructor(val bytes: ByteArray, val shape: LongArray) {
    val dataAsFloatArray: FloatArray get() = throw UnsupportedOperationException("there is no ExecuTorch for the JVM")

    companion object {
        @JvmStatic fun fromBlobUnsigned(data: ByteArray, shape: LongArray): Tensor = Tensor(data, shape)
    }
}

class EValue private constructor(private val value: Any) {
    fun toTensor(): Tensor = value as Tensor

    fun toStr(): String = value as String

    companion object {
        @JvmStatic fun from(tensor: Tensor): EValue = EValue(tensor)
    }
}

class Module private constructor(val path: String) {
    fun forward(vararg inputs: EValue): Array<EValue> = execute("forward", *inputs)

    fun execute(method: String, vararg inputs: EValue): Array<EValue> =
        throw UnsupportedOperationException("$path: no ExecuTorch for the JVM runs $method on ${inputs.size} inputs")

    fun destroy() = Unit

    companion object {
        @JvmStatic fun load(path: String): Module = Module(path)
    }
}
