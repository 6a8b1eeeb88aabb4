package android.widget

import android.content.Context
import android.graphics.Bitmap
import android.view.View
import android.view.ViewGroup

open class TextView(context: Context) : View(context) {
    var text: CharSequence = ""
}

class Button(context: Context) : TextView(context)

class ImageView(context: Context) : View(context) {
    fun setImageBitmap(bitmap: Bitmap?) = check(bitmap != null)
}

class ScrollView(context: Context) : ViewGroup(context)

class LinearLayout(context: Context) : ViewGroup(context) {
    var orientation = 0

    companion object {
        const val VERTICAL = 1
    }
}
