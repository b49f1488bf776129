/* php.json_post: JSON request bodies are parsed into $_POST; php://input still has them whole. */
#include "shim.h"

#include <ext/json/php_json.h>
#include <main/php_streams.h>

static void handle_json(char *content_type, void *array)
{
    (void)content_type;
    php_stream *body = SG(request_info).request_body;
    if (body == NULL || php_stream_rewind(body) != 0) {
        return;
    }
    zend_string *text = php_stream_copy_to_mem(body, PHP_STREAM_COPY_ALL, 0);
    php_stream_rewind(body);
    if (text == NULL) {
        return;
    }
    zval value;
    ZVAL_NULL(&value);
    if (php_json_decode_ex(&value, ZSTR_VAL(text), ZSTR_LEN(text), PHP_JSON_OBJECT_AS_ARRAY,
                           PHP_JSON_PARSER_DEFAULT_DEPTH) == SUCCESS &&
        Z_TYPE(value) == IS_ARRAY) {
        zend_hash_copy(Z_ARRVAL_P((zval *)array), Z_ARRVAL(value), zval_add_ref);
    }
    zval_ptr_dtor(&value);
    zend_string_release(text);
}

void json_post_startup(void)
{
    static const sapi_post_entry entry = {
        .content_type = "application/json",
        .content_type_len = sizeof "application/json" - 1,
        .post_reader = sapi_read_standard_form_data,
        .post_handler = handle_json,
    };
    sapi_register_post_entry(&entry);
}
