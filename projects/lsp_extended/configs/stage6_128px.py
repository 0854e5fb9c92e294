_base_ = '../../../configs/body_2d_keypoint/lpn/lspet/td-hm_lpn50_1xb32-60e_lspet-128x128.py'

# a long schedule with the augmentation of the 60 epochs
train_cfg = dict(max_epochs=12, val_interval=2)
optim_wrapper = dict(optimizer=dict(lr=0.0008))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        eta_min=4e-06,
        begin=0,
        end=12,
        T_max=12,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
load_from = 'work_dirs/stage5_128px/epoch_2.pth'

# averaged over about an epoch of 500 iterations
custom_hooks = [
    dict(type='SyncBuffersHook'),
    dict(
        type='EMAHook',
        ema_type='ExponentialMovingAverage',
        momentum=0.002,
        update_buffers=True,
        priority=49,
    ),
]

train_dataloader = dict(batch_size=16, num_workers=1)
