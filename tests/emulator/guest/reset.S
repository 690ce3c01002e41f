# The 64 KiB at the end of the address space, where an x86 CPU begins: from real mode to 64-bit mode with all vector registers
# enabled that the CPU has, then to the kernel at 0x100000, which the emulator has put there.
        .code16
        .section .text
        .org 0
real_mode:
        cli
        cld
        inb     $0x92, %al                      # address line 20 on
        orb     $2, %al
        outb    %al, $0x92
        lgdtl   %cs:(descriptors_pointer - real_mode)
        mov     %cr0, %eax
        or      $1, %eax                        # protection on
        mov     %eax, %cr0
        ljmpl   $0x08, $(0xffff0000 + (protected_mode - real_mode))

        .align 16
descriptors:
        .quad   0
        .quad   0x00cf9b000000ffff              # 0x08 code, 32 bits
        .quad   0x00cf93000000ffff              # 0x10 data
        .quad   0x00af9b000000ffff              # 0x18 code, 64 bits
        .quad   0x00cf93000000ffff              # 0x20 data: the stack segment after a system call
descriptors_pointer:
        .word   5 * 8 - 1
        .long   0xffff0000 + (descriptors - real_mode)

        .code32
protected_mode:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     %eax, %fs
        mov     %eax, %gs
        # 4 GiB mapped one to one in pages of 2 MiB: a table of level 4 at 0x70000, one of level 3 behind it, four of level 2.
        mov     $0x70000, %edi
        xor     %eax, %eax
        mov     $(0x6000 / 4), %ecx
        rep stosl
        movl    $0x71007, 0x70000
        movl    $0x72007, 0x71000
        movl    $0x73007, 0x71008
        movl    $0x74007, 0x71010
        movl    $0x75007, 0x71018
        mov     $0x72000, %edi
        mov     $0x87, %eax                     # present, writable, for all, large
        mov     $2048, %ecx
next_page:
        mov     %eax, (%edi)
        movl    $0, 4(%edi)
        add     $0x200000, %eax
        add     $8, %edi
        loop    next_page
        mov     $0x70000, %eax
        mov     %eax, %cr3
        mov     $((1 << 5) | (1 << 9) | (1 << 10) | (1 << 18)), %eax    # PAE, SSE, its exceptions, XSAVE
        mov     %eax, %cr4
        mov     $0xc0000080, %ecx               # EFER: system calls, 64-bit mode
        rdmsr
        or      $0x101, %eax
        wrmsr
        mov     %cr0, %eax
        and     $~0xc, %eax                     # no emulated x87
        or      $0x80000022, %eax               # paging
        mov     %eax, %cr0
        # XCR0: x87, SSE, AVX, masks and both parts of the 512-bit registers, as far as this CPU has them. Programs read it to
        # know what the system saves.
        mov     $0xd, %eax
        xor     %ecx, %ecx
        cpuid
        and     $0xe7, %eax
        xor     %edx, %edx
        xor     %ecx, %ecx
        xsetbv
        ljmpl   $0x18, $(0xffff0000 + (long_mode - real_mode))

        .code64
long_mode:
        mov     $0x90000, %esp
        mov     $0x100000, %eax
        jmp     *%rax

        .org 0xfff0                             # where the CPU begins
        .code16
        .byte   0xe9                            # jump to real_mode
        .word   real_mode - (. + 2)
        .org 0x10000
        .section .note.GNU-stack, "", @progbits
