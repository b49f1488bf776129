/*
 * Has the libraries of this process, PHP's and those PHP uses, call a function of ours in place of one of C's. A
 * library calls what is not its own through a table that the dynamic linker fills in; we write there what it would
 * have written, had our function come first. The executable and the shim keep calling C's.
 *
 * Only for libraries that are loaded by then; so after module start-up, when PHP's extensions are.
 */
#define _GNU_SOURCE
#include "shim.h"

#include <elf.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__x86_64__)
#define IS_CALL(type) ((type) == R_X86_64_JUMP_SLOT || (type) == R_X86_64_GLOB_DAT)
#elif defined(__aarch64__)
#define IS_CALL(type) ((type) == R_AARCH64_JUMP_SLOT || (type) == R_AARCH64_GLOB_DAT)
#else
#define IS_CALL(type) ((void)(type), false)
#endif

struct replacement {
    const char *name;
    void *function;
    size_t replaced;
    bool failed;
};

struct library {
    ElfW(Addr) base;
    ElfW(Addr) constant, constant_end; /* read-only once the linker is done */
    const ElfW(Sym) *symbols;
    const char *names;
    const ElfW(Rela) *tables[2];
    size_t bytes[2];
};

/* glibc has made most addresses absolute by now, and leaves some as they are in the file. */
static const void *absolute(const struct library *library, ElfW(Addr) address)
{
    return (const void *)(address < library->base ? library->base + address : address);
}

static void read_dynamic(struct library *library, const ElfW(Dyn) *entry)
{
    for (; entry->d_tag != DT_NULL; entry++) {
        switch (entry->d_tag) {
        case DT_SYMTAB:
            library->symbols = absolute(library, entry->d_un.d_ptr);
            break;
        case DT_STRTAB:
            library->names = absolute(library, entry->d_un.d_ptr);
            break;
        case DT_RELA:
            library->tables[0] = absolute(library, entry->d_un.d_ptr);
            break;
        case DT_RELASZ:
            library->bytes[0] = entry->d_un.d_val;
            break;
        case DT_JMPREL:
            library->tables[1] = absolute(library, entry->d_un.d_ptr);
            break;
        case DT_PLTRELSZ:
            library->bytes[1] = entry->d_un.d_val;
            break;
        }
    }
}

/*
 * False for what is not to be touched: the executable (first, nameless), the shim, and what has no tables. Nor ICU:
 * it asks once for the whole process (default locale, time zone), so it must not be told what one request wants.
 */
static bool read_library(struct library *library, const struct dl_phdr_info *info)
{
    const ElfW(Addr) ours = (ElfW(Addr))read_library;
    const ElfW(Addr) page = (ElfW(Addr))getpagesize();
    *library = (struct library){.base = info->dlpi_addr};
    const ElfW(Dyn) *dynamic = NULL;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        const ElfW(Addr) start = info->dlpi_addr + part->p_vaddr;
        const ElfW(Addr) end = start + part->p_memsz;
        if (part->p_type == PT_DYNAMIC) {
            dynamic = (const ElfW(Dyn) *)start;
        } else if (part->p_type == PT_GNU_RELRO) {
            library->constant = start & ~(page - 1);
            library->constant_end = end & ~(page - 1);
        } else if (part->p_type == PT_LOAD && ours >= start && ours < end) {
            return false;
        }
    }
    if (*info->dlpi_name == '\0' || dynamic == NULL || strstr(info->dlpi_name, "/libicu") != NULL) {
        return false;
    }
    read_dynamic(library, dynamic);
    return library->symbols != NULL && library->names != NULL;
}

static bool write_entry(const struct library *library, void **entry, void *function)
{
    const ElfW(Addr) page = (ElfW(Addr))getpagesize();
    const ElfW(Addr) address = (ElfW(Addr))entry;
    const bool constant = address >= library->constant && address < library->constant_end;
    void *start = (void *)(address & ~(page - 1));
    if (constant && mprotect(start, page, PROT_READ | PROT_WRITE) != 0) {
        return false;
    }
    __atomic_store_n(entry, function, __ATOMIC_RELEASE);
    if (constant) {
        mprotect(start, page, PROT_READ);
    }
    return true;
}

static void replace_in_table(const struct library *library, const ElfW(Rela) *table, size_t count,
                             struct replacement *replacement)
{
    for (size_t i = 0; i < count; i++) {
        if (!IS_CALL(ELF64_R_TYPE(table[i].r_info))) {
            continue;
        }
        const ElfW(Sym) *symbol = &library->symbols[ELF64_R_SYM(table[i].r_info)];
        if (symbol->st_shndx != SHN_UNDEF || strcmp(library->names + symbol->st_name, replacement->name) != 0) {
            continue;
        }
        if (write_entry(library, (void **)(library->base + table[i].r_offset), replacement->function)) {
            replacement->replaced++;
        } else {
            replacement->failed = true;
        }
    }
}

static int replace_in_library(struct dl_phdr_info *info, size_t size, void *replacement)
{
    (void)size;
    struct library library;
    if (read_library(&library, info)) {
        for (int i = 0; i < 2; i++) {
            if (library.tables[i] != NULL) {
                replace_in_table(&library, library.tables[i], library.bytes[i] / sizeof(ElfW(Rela)), replacement);
            }
        }
    }
    return 0;
}

bool replace_import(const char *name, void *function)
{
    struct replacement replacement = {.name = name, .function = function};
    dl_iterate_phdr(replace_in_library, &replacement);
    return replacement.replaced > 0 && !replacement.failed;
}
