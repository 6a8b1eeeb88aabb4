// Runs the samples as an instrumented test on a phone would: main BUNDLE ARTIFACT RESULTS.

package samples

import compress.check.checkOnThisPhone
import compress.check.measureOnThisPhone
import java.io.File
import kotlin.system.exitProcess

/** phone.py with these arguments, by the interpreter that the property ``python`` names. */
fun start(vararg arguments: String): Process =
    ProcessBuilder(System.getProperty("python"), System.getProperty("phone"), *arguments)
        .redirectError(ProcessBuilder.Redirect.INHERIT).start()

fun main(arguments: Array<String>) {
    val (bundle, artifact, results) = arguments
    measureOnThisPhone(File(bundle), artifact, File(results), by = "tests", processor = "x86")
    val found = runCatching { checkOnThisPhone(File(bundle), artifact) }.getOrElse {
        println(it.message)
        exitProcess(1)
    }
    for (each in found) println("${if (each.passed) "passed" else "FAILED"} ${each.name} ${each.value}, limit ${each.limit}")
    exitProcess(if (found.all { it.passed }) 0 else 1)
}
