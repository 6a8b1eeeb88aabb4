// What SearchActivity uses of Android's screens, to compile it. Signatures are those of the real classes.

package android.app

import android.content.Context
import android.content.Intent
import android.os.Bundle
import android.view.View

open class Activity : Context() {
    protected open fun onCreate(savedInstanceState: Bundle?) = Unit

    protected open fun onDestroy() = Unit

    protected open fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) = Unit

    fun startActivityForResult(intent: Intent, requestCode: Int): Unit = error("no phone starts $intent, $requestCode")

    fun setContentView(view: View): Unit = error("no screen shows $view")

    fun runOnUiThread(action: Runnable) = action.run()

    companion object {
        const val RESULT_OK = -1
    }
}
