/** What only a started PHP knows about itself. */
export interface PhpReport {
  readonly version: string;
  readonly sapi: string;
  readonly zts: boolean;
  readonly debug: boolean;
  readonly zendApi: number;
  /** The library that was started. */
  readonly libphp: string;
  readonly opcache: boolean;
  /** Why opcache is off; empty when it is on. */
  readonly opcacheReason: string;
  readonly iniFile: string;
  readonly iniScanned: readonly string[];
  readonly extensions: readonly string[];
  /** What PHP complained about while it started, one message each. */
  readonly startupErrors: readonly string[];
}

/** Evaluated by a started PHP; yields a PhpReport as JSON, less what PHP itself does not know. */
export const REPORT_CODE = `(function () {
  $status = function_exists('opcache_get_status') ? @opcache_get_status(false) : null;
  $on = is_array($status) && ($status['opcache_enabled'] ?? false);
  $reason = $on ? '' : ($status === null ? 'the opcache extension is not loaded'
    : (ini_get('opcache.enable') ? 'opcache did not start' : 'opcache.enable is off'));
  $scanned = php_ini_scanned_files();
  return json_encode([
    'version' => PHP_VERSION, 'sapi' => PHP_SAPI, 'zts' => (bool) PHP_ZTS, 'debug' => (bool) PHP_DEBUG,
    'opcache' => $on, 'opcacheReason' => $reason,
    'iniFile' => (string) php_ini_loaded_file(),
    'iniScanned' => $scanned ? array_values(array_filter(array_map('trim', explode(',', $scanned)))) : [],
    'extensions' => get_loaded_extensions(), 'startupErrors' => [],
  ], JSON_INVALID_UTF8_SUBSTITUTE);
})()`;
